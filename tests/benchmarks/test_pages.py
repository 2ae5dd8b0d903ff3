"""Tables that commands write into the manual are what these commands make."""

from benchmarks import sense
from benchmarks.stored import fill_page


def test_the_manual_lists_the_checks_of_a_training():
    assert sense.PAGE.read_text(encoding="utf-8") == fill_page(sense.PAGE, "checks", sense.table())
