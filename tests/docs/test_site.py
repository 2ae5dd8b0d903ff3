"""What the site makes of the code."""

import ppl_vae as pv
from website import api
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
