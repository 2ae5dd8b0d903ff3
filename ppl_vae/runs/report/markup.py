"""Pieces of a page: tables, figures, lists. All text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ppl_vae.evidence.bounds import SIGNS

__all__ = [
    "bullets",
    "chips",
    "code",
    "columns",
    "facts",
    "figure",
    "folded",
    "joined",
    "nats",
    "paragraph",
    "stored",
    "table",
]


def joined(parts: Iterable[str]) -> Markup:
    """Pieces one after the other; text among them is escaped."""
    return Markup("").join(parts)


def paragraph(text: str, kind: str = "") -> Markup:
    """A paragraph of text."""
    return Markup('<p class="{}">{}</p>').format(kind, text) if kind else Markup("<p>{}</p>").format(text)


def bullets(lines: Iterable[str], kind: str = "") -> Markup:
    """A list of lines."""
    items = joined(Markup("<li>{}</li>").format(line) for line in lines)
    return Markup('<ul class="{}">{}</ul>').format(kind, items)


def code(text: str) -> Markup:
    """Lines to be typed, or read by a program."""
    return Markup('<pre tabindex="0"><code>{}</code></pre>').format(text)


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, text: Sequence[str] = ()) -> Markup:
    """A table, whose first column names its rows; it scrolls sideways where it is too wide.

    Arguments:
        caption: What it shows.
        heads: Heads of its columns.
        rows: The cells of each row.
        text: Heads of columns of words, which are aligned to the left; the others are numbers.
    """
    kinds = ["words" if head in text else "number" for head in heads]
    top = joined(
        Markup('<th scope="col" class="{}">{}</th>').format(kind, head)
        for kind, head in zip(["words", *kinds[1:]], heads, strict=True)
    )
    lines = []
    for first, *cells in rows:
        rest = joined(
            Markup('<td class="{}">{}</td>').format(kind, cell) for kind, cell in zip(kinds[1:], cells, strict=True)
        )
        lines.append(Markup('<tr><th scope="row">{}</th>{}</tr>').format(first, rest))
    return Markup(
        '<div class="scroll" role="region" tabindex="0" aria-label="{}"><table><caption><span>{}</span></caption>'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(caption, caption, top, joined(lines))


def facts(named: Mapping[str, str]) -> Markup:
    """Names and what they are."""
    return Markup("<dl>{}</dl>").format(
        joined(Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(*pair) for pair in named.items())
    )


def figure(content: Markup, caption: str) -> Markup:
    """A chart or images, with the finding in its caption."""
    return Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(content, caption)


def columns(*parts: str) -> Markup:
    """Pieces side by side where the page is wide enough."""
    return Markup('<div class="columns">{}</div>').format(joined(parts))


def chips(words: Iterable[str]) -> Markup:
    """Words, each in a frame of its own."""
    return Markup('<span class="chips">{}</span>').format(
        joined(Markup("<span>{}</span> ").format(word) for word in words)
    )


def folded(title: str, content: str) -> Markup:
    """What is shown when its title is opened, and printed always."""
    return Markup("<details><summary>{}</summary>{}</details>").format(title, content)


def stored(part: Mapping[str, Any], digits: int, unit: str = "") -> str:
    """A number as a measurement stores it, with its sign and its error at 95%, as everywhere on the page.

    Example:
        >>> stored({"mean": 1.5, "se": None, "bound": "lower"}, 2, " nats")
        '>= 1.50 nats'
        >>> stored({"mean": None, "se": None, "bound": "exact"}, 2)
        'not finite'
        >>> stored({"mean": 1.5, "se": 0.1}, 2)
        '1.50 \u00b1 0.2'
    """
    if part["mean"] is None:
        return "not finite"
    error = f" \u00b1 {1.96 * part['se']:.2g}" if part.get("se") else ""
    return f"{SIGNS[part.get('bound', 'exact')]}{part['mean']:.{digits}f}{error}{unit}"


def nats(value: float) -> str:
    """A number of nats as a sentence gives it: two decimals, or two digits where there would be fewer.

    Example:
        >>> nats(3.1567), nats(0.0412), nats(0.0000001), nats(-0.0)
        ('3.16', '0.041', '0.00', '0.00')
    """
    small = 0.0005 < abs(value) < 0.1
    return f"{value:.2g}" if small else f"{round(value, 2) + 0.0:.2f}"
