"""Keeps found docstrings as plain arrays: written in one step, never unpickled, thrown away when damaged."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from ppl_vae.corpora.raw import Documents, Raw

__all__ = ["load_cached", "save_cached"]


def load_cached(path: Path, key: str) -> Raw | None:
    """What was saved under ``key``; ``None`` if there is nothing, or nothing sound."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            counts = csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=tuple(arrays["shape"]))
            counts.check_format(full_check=True)
            titles, words, names = (tuple(arrays[name].tolist()) for name in ("titles", "words", "names"))
            labels = arrays["labels"].astype(np.int64)
            sound = (
                arrays["key"].item() == key
                and len(titles) == len(labels) == counts.shape[0]
                and len(words) == counts.shape[1]
                and len(names) == labels.max() + 1
            )
    except FileNotFoundError:
        return None
    except Exception:
        # Damage shows in too many types to list (zip, zlib, header, shape), and the remedy is always to search again.
        return None
    return Raw({"train": Documents(counts, labels, titles)}, words, names) if sound else None


def save_cached(path: Path, key: str, raw: Raw) -> None:
    """Writes a source without splits; a reader sees the old file or the new one, never half of it.

    Raises:
        OSError: If the folder cannot be written.
    """
    documents = raw.splits["train"]
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(
                file,
                key=np.array(key),
                data=documents.counts.data,
                indices=documents.counts.indices,
                indptr=documents.counts.indptr,
                shape=np.array(documents.counts.shape),
                labels=documents.labels if documents.labels is not None else np.zeros(0, dtype=np.int64),
                titles=np.array(documents.titles),
                words=np.array(raw.words),
                names=np.array(raw.label_names),
            )
        os.replace(scratch, path)
    finally:
        Path(scratch).unlink(missing_ok=True)
