"""A folder of plain texts: one document per file, one class per sub-folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.folders import files_in, left_out, sort_files
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source
from ppl_vae.data.text_file import TextFile, unquoted
from ppl_vae.data.tokens import from_texts

__all__ = ["READER"]


def read_folder(folder: Path) -> Source:
    """Reads the ``.txt`` files of a folder and its sub-folders; names that begin with a dot are passed over.

    Sub-folders ``train``, ``test`` and ``validation``, or ``Training``, ``val`` and the like, are splits; within them,
    or within the folder itself if it has no such sub-folders, the first folder on the way to a file is its class. Files
    are named by their paths.

    Raises:
        ValueError: If there is no text, a text is not UTF-8, only some texts have a class or lie in a split, there
            are other splits but none for training, or most files of the folder are no texts.
    """
    files = files_in(folder)
    paths = [path for path in files if path.suffix.lower() == ".txt" and path.is_file()]
    others = [path for path in files if path.suffix.lower() != ".txt"]
    if not paths:
        endings = ", ".join(sorted({path.suffix for path in others if path.suffix})[:5])
        raise ValueError(
            f"{folder} has no .txt file and no image{f', only {unquoted(endings)}' if endings else ''}; give a folder "
            "of texts, one document per file, or of images, or one of its files"
        )
    notes = left_out(folder, len(paths), others, "texts (.txt)")
    found = sort_files(folder, paths)
    titles = ["/".join(path.relative_to(folder).parts) for path in found.paths]
    texts = [TextFile.open(path).text for path in found.paths]
    source = from_texts(str(folder), texts, found.splits, found.labels, titles)
    return replace(source, notes=(*source.notes, *notes, *found.notes))


READER = Reader(
    "FOLDER/",
    "a folder of .txt files, sub-folders are labels, or splits if called train, validation and test",
    PackedCounts,
    read_folder,
    matches=Path.is_dir,
    fallback=True,
)
