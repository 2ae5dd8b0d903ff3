"""Results in a notebook: tables, never tensors."""

import pytest
import torch

from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.results import Evidence
from tests.support.page import Page


def measured():
    values = torch.tensor([-3.0, -4.0, -5.0], dtype=torch.float64)
    evidence = Estimate(values, "<enumeration>", "exact", notes=("watch <out>",))
    elbo = Estimate(values - 1, "draws", "unbiased", 10, torch.full((3,), 0.3, dtype=torch.float64))
    return Evidence(elbo, evidence, evidence.minus(elbo))


def test_a_result_is_shown_as_a_table_with_its_notes():
    page = Page(measured()._repr_html_())
    assert page.faults == []
    assert "tensor" not in page.text
    for words in ("-4.000", "-5.000 +- 0.17", "<enumeration>: exact", "watch <out>", "3 data"):
        assert words in page.text


def test_a_result_is_plotted_as_the_command_line_draws_it():
    figure = measured().plot("a title")
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "nats per datum: from ELBO to evidence",
        "evidence minus ELBO (nats)",
    ]
    assert figure.get_suptitle() == "a title"
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_result_is_a_frame_with_a_row_each():
    frame = measured().to_frame()
    assert list(frame.index) == ["ELBO", "evidence", "gap"]
    assert frame.loc["ELBO", "mean"] == pytest.approx(-5.0)
    assert frame.loc["ELBO", "se"] == pytest.approx(0.3 / 3**0.5)
    assert list(frame["bound"]) == ["unbiased", "exact", "unbiased"]


def test_a_result_of_another_form_is_shown_as_it_is_printed():
    class Verdict(Evidence):
        def table(self) -> str:
            return "\x1b[1ma\x1b[0m < b"

    one = measured()
    page = Page(Verdict(one.elbo, one.evidence, one.gap)._repr_html_())
    assert page.faults == [] and "a < b" in page.text and "\x1b" not in page.text and "watch <out>" in page.text
