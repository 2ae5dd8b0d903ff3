"""A folder of plain texts: one document per file, one class per sub-folder."""

from __future__ import annotations

from pathlib import Path

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.folders import splits_and_labels
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source
from ppl_vae.data.text_file import TextFile
from ppl_vae.data.tokens import from_texts

__all__ = ["READER"]


def read_folder(folder: Path) -> Source:
    """Reads the ``.txt`` files of a folder and its sub-folders.

    Sub-folders ``train``, ``test`` and ``validation`` are splits; within them, or within the folder itself if it has no
    such sub-folders, the first folder on the way to a file is its class. Files are named by their paths.

    Raises:
        ValueError: If there is no text, a text is not UTF-8, only some texts have a class or lie in a split, or there
            are other splits but none for training.
    """
    paths = sorted(path for path in folder.rglob("*.txt") if path.is_file())
    if not paths:
        raise ValueError(
            f"{folder} has no .txt files and no images; give a folder of texts, one document per file, or of images"
        )
    splits, labels = splits_and_labels(folder, paths)
    titles = ["/".join(path.relative_to(folder).parts) for path in paths]
    texts = [TextFile.open(path).text for path in paths]
    return from_texts(str(folder), texts, splits, labels, titles)


READER = Reader(
    "FOLDER/",
    "a folder of .txt files, sub-folders are labels, or splits if called train, validation and test",
    PackedCounts,
    read_folder,
    matches=Path.is_dir,
    fallback=True,
)
