from benchmarks.searches.table import judge, markdown


def test_enumerated_searches_find_the_best_members_and_branch_and_bound_agrees(float64):
    rows = judge(models=3, ascents=0, most_bits=4)
    assert [(row.kind, row.search) for row in rows] == [
        (kind, "enumeration") for kind in ("points", "couplings", "network")
    ]
    for row in rows:
        assert row.slightly == 0, row
        assert row.decided == row.data == 24
        assert row.wrong == 0


def test_ascents_find_the_best_normal_of_posteriors_with_several_modes(float64):
    (row,) = judge(models=1, ascents=1, kinds=("normal",), steps=200)
    assert row.seriously == 0, row
    assert "| normal | ascent | 8 | " in markdown([row])
