"""Programs as users of Pyro write them: each runs with its evidence right, or is refused in words."""

from pathlib import Path

import pytest

from benchmarks.structures.table import builders, evaluate

PAGE = Path(__file__).parents[2] / "docs" / "programs.md"
BUILDERS = list(builders())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("build", BUILDERS, ids=[build.__name__ for build in BUILDERS])
def test_runs_and_is_measured_rightly_or_is_refused(build):
    row = evaluate(build, steps=2)
    if row.structure.refused is not None:
        assert not row.runs
        assert row.structure.refused in row.message
        assert row.message.startswith("ValueError: ")
    else:
        assert row.runs, row.message
        assert row.agrees, (row.method, row.excess, row.error, row.worst)


def test_the_page_has_every_program():
    page = PAGE.read_text()
    for build in BUILDERS:
        structure = build()
        assert f"| {structure.title} | {structure.form} | {'refused' if structure.refused else 'runs'} |" in page
