"""Tables that commands write into the manual are what these commands make."""

from benchmarks import bits, reliability, sense
from benchmarks.gradients.table import markdown
from benchmarks.stored import fill_page, read


def test_the_manual_lists_the_checks_of_a_training():
    text = sense.PAGE.read_text(encoding="utf-8")
    assert text == fill_page(text, "checks", sense.table())


def test_the_page_on_reliability_is_made_from_the_stored_results():
    assert reliability.PAGE.read_text(encoding="utf-8") == reliability.page()


def test_the_tables_of_estimators_are_made_from_the_stored_results():
    text = bits.PAGE.read_text(encoding="utf-8")
    assert text == bits.page()
    assert text == fill_page(text, "gradients", markdown(read("gradients")["rows"]))
