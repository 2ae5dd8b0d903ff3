"""Data shown as themselves: words, images, numbers; and images as part of the page."""

from __future__ import annotations

import base64
import io

import numpy as np
from markupsafe import Markup
from torch import Tensor

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.images import pixels
from ppl_vae.data.inputs import Batch, Inputs
from ppl_vae.evidence.figures import tiled
from ppl_vae.runs.open import Run
from ppl_vae.runs.report.markup import chips, joined

__all__ = ["exhibit", "image", "sheet"]

WORDS = 14
"""Words shown of a document."""

NUMBERS = 12
"""Numbers shown of a datum."""


def image(pixels: Tensor) -> str:
    """The address of a picture that holds the picture itself.

    Arguments:
        pixels: ``(height, width)`` or ``(height, width, 3)``, in [0, 1].
    """
    from PIL import Image

    content = io.BytesIO()
    values = (pixels.detach().cpu().clamp(0, 1).numpy() * 255).round().astype(np.uint8)
    Image.fromarray(values).save(content, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def sheet(images: Tensor, columns: int, alternative: str) -> Markup:
    """Images in rows of so many, as one picture.

    Arguments:
        images: ``(count, height, width)`` or ``(count, channels, height, width)``, in [0, 1].
        columns: Number of columns.
        alternative: What it shows, for those who cannot see it.
    """
    return Markup('<img class="sheet" src="{}" alt="{}">').format(image(tiled(images.float(), columns)), alternative)


def exhibit(run: Run, x: Batch, row: int, name: str, rare: Tensor | None = None) -> Markup:
    """A datum shown as itself.

    Arguments:
        run: The run, which knows the words.
        x: The data of a split.
        row: Position of the datum.
        name: Its name.
        rare: Weight of each word of documents.
    """
    if isinstance(x, PackedCounts):
        return _document(run.corpus.vocabulary, x, row, rare)
    if isinstance(x, Inputs):
        parts = []
        for field, value in x.fields().items():
            classes = run.corpus.classes.get(field)
            if classes is None or not isinstance(value, Tensor):
                shown: Markup | str = exhibit(run, value, row, f"{field} of {name}", rare)
            else:
                shown = classes[int(value[row])]
            parts.append(Markup("<div><b>{}</b> {}</div>").format(field, shown))
        return joined(parts)
    value = x[row].detach().cpu()
    if x.is_floating_point() and pixels(x) is not None:
        return sheet(value[None], 1, name)
    flat = value.reshape(-1)
    numbers = ["missing" if v != v else f"{v:.4g}" for v in flat[:NUMBERS].tolist()]
    more = f" and {len(flat) - NUMBERS} more" if len(flat) > NUMBERS else ""
    return Markup('<span class="numbers">{}{}</span>').format(", ".join(numbers), more)


def _document(vocabulary: tuple[str, ...], x: PackedCounts, row: int, rare: Tensor | None) -> Markup:
    start, end = int(x.offsets[row]), int(x.offsets[row + 1])
    words, counts = x.words[start:end].cpu(), x.counts[start:end].cpu()
    order = (counts if rare is None else counts * rare[words]).argsort(descending=True)[:WORDS].tolist()
    shown = [f"{vocabulary[int(words[i])]}" + (f" \u00d7{int(counts[i])}" if counts[i] > 1 else "") for i in order]
    total = Markup(' <span class="faint">{} words, {} different</span>').format(int(counts.sum()), len(words))
    return chips(shown) + total
