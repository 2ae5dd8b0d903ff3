"""Tables, and docstrings as Markdown: roles become code, formulas become display mathematics."""

from __future__ import annotations

import inspect
import re
import textwrap

__all__ = ["table", "to_markdown"]

ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|py:\w+):`~?([^`]+)`")
INLINE = re.compile(r":math:`([^`]+)`")
MATH = re.compile(
    r"^(?P<indent> *)\.\. math::[ ]*(?P<rest>.*)\n(?P<body>(?:(?P=indent) +\S.*\n?|[ ]*\n)*)", re.MULTILINE
)


def to_markdown(text: str) -> str:
    r"""Returns a docstring as Markdown.

    Example:
        >>> print(to_markdown("Of :class:`~a.b.C`:\n\n.. math::\n    x = 1\n\nin nats."))
        Of `C`:
        <BLANKLINE>
        $$
        x = 1
        $$
        <BLANKLINE>
        in nats.
    """
    text = INLINE.sub(r"$\1$", inspect.cleandoc(text) + "\n")
    text = ROLE.sub(lambda role: f"`{role[1].rsplit('.', 1)[-1]}`", text)
    text = MATH.sub(_display, text)
    return re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE).rstrip("\n")


def _display(found: re.Match[str]) -> str:
    formula = "\n".join(filter(None, [found["rest"].strip(), textwrap.dedent(found["body"]).strip("\n")]))
    return textwrap.indent(f"$$\n{formula}\n$$\n\n", found["indent"])


def table(heads: str, rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown; heads are separated by bars."""
    columns = heads.split("|")
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *lines])
