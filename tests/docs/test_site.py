"""What the site makes of the code."""

from pathlib import Path

import numpy as np
import pytest

import ppl_vae as pv
from website import api, concepts, figures, tables
from website.markdown import to_markdown


def test_docstrings_become_markdown():
    text = "Of :class:`~a.b.C`:\n\n.. math::\n    x =\n    1\n\nwith :math:`x_i`.\n\n"
    text += "Arguments:\n    x: :func:`f`.\n\nExample:\n    >>> 1\n    1"
    assert to_markdown(text).split("\n\n") == [
        "Of `C`:",
        "$$\nx =\n1\n$$",
        "with $x_i$.",
        "Arguments:\n    x: `f`.",
        "Examples:\n    >>> 1\n    1",
    ]


def test_every_public_name_and_every_estimator_has_a_page():
    pages = api.pages()
    text = "\n".join(pages.values())
    assert [name for name in pv._PLACES if f"heading: pv.{name}\n" not in text] == ["estimators"]
    assert "::: ppl_vae.estimators.arm.ARM" in pages["api/estimators.md"]


def test_pages_made_from_the_code_are_as_the_code_is(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, text in tables.pages().items():
        page = Path(tables.DOCS, name)
        assert page.read_text() == text, f"{name} is out of date: run python -m website.tables"


def test_the_numbers_of_the_concepts_are_those_of_numpy():
    x, centres = concepts._data().numpy(), concepts.CENTRES.numpy()
    logits = np.stack([2.5 * x[:, 1], -x[:, 0] * x[:, 1]], 1)
    bits = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    joint = -0.5 * ((x[:, None] - centres) ** 2).sum(2) - np.log(2 * np.pi) - np.log(4)
    log_q = (bits * logits[:, None] - np.logaddexp(0, logits)[:, None]).sum(2)
    known = concepts.numbers()
    evidence = np.logaddexp.reduce(joint, 1)
    assert known["evidence"] == pytest.approx(evidence.mean())
    assert known["ELBO"] == pytest.approx((np.exp(log_q) * (joint - log_q)).sum(1).mean())
    assert known["rate"] == pytest.approx((np.exp(log_q) * (log_q + np.log(4))).sum(1).mean())
    lower, upper, exact = concepts._bounds()
    assert np.isclose(evidence, exact).any()
    assert np.all(np.diff(lower) > 0) and np.all(np.diff(upper) < 0) and lower[-1] < exact < upper[-1]


def test_every_page_has_its_place_in_the_site():
    listed = (tables.DOCS.parent / "mkdocs.yml").read_text()
    places = [f"- {page.relative_to(tables.DOCS).with_suffix('.md')}\n" for page in tables.DOCS.rglob("*.md")]
    places += [f"- notebooks/{source.stem}.md\n" for source in tables.DOCS.glob("notebooks/*.py")]
    assert [place for place in places if place not in listed and place.replace("- ", ": ") not in listed] == []


def test_figures_are_drawn_from_the_tables_of_their_pages():
    from matplotlib.figure import Figure

    drawn = {}
    for draw in (figures.raises, figures.harm, figures.image_bits, figures.plane):
        draw(figure := Figure())
        drawn[draw.__name__] = [bar.get_width() for bar in figure.axes[0].patches], figure.axes
    assert drawn["raises"][0] == [0.432, 0.468, 0.432, 0.362, 0.386, 0.419, 0.425]
    lost = [bar.get_width() for bar in drawn["harm"][1][1].patches]
    assert lost == [0, 0, 792, 546, 0, 0, 813, 540]  # the truth itself loses nothing
    assert drawn["image_bits"][0][7:9] == [-0.893, 1.052]
    first = drawn["plane"][1][0].lines[0]
    assert (first.get_xdata()[0], first.get_ydata()[0]) == (81.4, 52.7)
    with pytest.raises(ValueError, match="no table that begins with"):
        figures.rows_of("rates.md", "| nothing |")
