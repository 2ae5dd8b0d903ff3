"""A few kills and failing writes; the benchmarks have hundreds."""

from benchmarks.faults import differences, tree
from tests.support.faults import harmed


def test_killed_commands_end_as_if_never_killed_and_failing_writes_lose_nothing(folder, topics_run):
    rows = harmed(topics_run)
    assert rows["kills"]["kills"] >= 1 and rows["kills"]["ends"] == rows["kills"]["equal"]
    assert rows["disk"]["failures"] == 2 and rows["disk"]["equal"] == 2
    assert rows["disk"]["ended_well"] + rows["disk"]["said"] == 2
    assert not any(row["problems"] for row in rows.values()) and rows["kills"]["orphans"] == 0


def test_trees_differ_by_bits_and_leftovers_but_not_by_times(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, seconds in ((one, 1), (other, 2)):
        folder.mkdir()
        (folder / "metrics.jsonl").write_text(f'{{"epoch": 1, "seconds": {seconds}}}\n')
        (folder / "a.pdf").write_text(str(seconds))
        (folder / "x.json").write_text("1")
    assert differences(tree(one), tree(other)) == []
    (other / "x.json").write_text("2")
    (other / ".ppl-vae-1-2-3").touch()
    (other / "metrics.jsonl").write_text('{"epoch": 2, "seconds": 2}\n')
    assert differences(tree(one), tree(other)) == [".ppl-vae-1-2-3", "metrics.jsonl", "x.json"]
