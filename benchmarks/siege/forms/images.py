"""Folders of images."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from benchmarks.siege.case import Case
from benchmarks.siege.sources import Invalid, corpus, corpus_form, pick, tensors

ENDINGS = {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP", ".gif": "GIF", ".ppm": "PPM", ".tif": "TIFF", ".webp": "WEBP"}


def make(rng: np.random.Generator) -> Case:
    from PIL import Image

    mode, ending, side = pick(rng, ("L", "RGB")), pick(rng, list(ENDINGS)), int(rng.integers(1, 7))
    folders = pick(rng, (("",), ("a/", "b/"), ("train/", "test/")))
    parts = {}
    for folder in folders:
        for number in range(int(rng.integers(1, 3))):
            pixels = rng.integers(0, 256, (side, side) if mode == "L" else (side, side, 3), np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, ENDINGS[ending])
            parts[f"{folder}{number}{ending}"] = buffer.getvalue()
    return Case(parts)


def decoded(path: Path) -> np.ndarray:
    """The pixels of an image on white."""
    from PIL import Image, ImageOps

    # In memory: of a file Pillow asks for as many bytes as a damaged chunk announces, and memory runs out.
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        if image.mode[0] in "IF":
            raise Invalid("more than 8 bits")
        grey = image.mode in ("1", "L")
        image = ImageOps.exif_transpose(image)
        if image.has_transparency_data:
            rgba = np.asarray(image.convert("RGBA"))
            whole = Image.new("RGBA", image.size, "white")
            whole.alpha_composite(Image.fromarray(rgba))
            image = whole
        pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return pixels


def parse(path: Path) -> object:
    from PIL import Image

    files = sorted(file for file in path.rglob("*") if file.is_file())
    inner = [file.relative_to(path).parts for file in files]
    split = any(len(parts) > 1 and parts[0] in ("train", "test") for parts in inner)
    opened = [decoded(file) for file in files]
    if any(pixels.ndim == 3 for pixels in opened):
        opened = [p if p.ndim == 3 else np.asarray(Image.fromarray(p).convert("RGB")) for p in opened]
    if len({pixels.shape for pixels in opened}) > 1:
        raise Invalid("several sizes")
    if opened[0].ndim == 3:
        opened = [np.moveaxis(pixels, 2, 0) for pixels in opened]
    values = np.stack(opened).astype(np.float32) / np.float32(255)
    splits = [parts[0] if split else "train" for parts in inner]
    labels = [parts[0] for parts in inner] if not split and len(inner[0]) > 1 else None
    found = {}
    for name in ("train", "test"):
        rows = [row for row, each in enumerate(splits) if each == name]
        if rows:
            found[name] = tensors(values[rows], labels and [labels[row] for row in rows])
    return corpus(found, (), sorted(set(labels or ())))


FORMS = (corpus_form("IMAGES/", make, parse),)
