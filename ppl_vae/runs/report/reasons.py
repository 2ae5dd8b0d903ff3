"""Why a part of a report is missing."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

from ppl_vae.data.files import NotWrittenError

__all__ = ["reason"]


def reason(error: Exception) -> str:
    """The reason in words: of a refusal its message, of any other error its type and place, too.

    Raises:
        Exception: The error itself if it is no refusal and ``--debug`` asks for its traceback, or if the disk cannot be
            written, which concerns the page, too.
    """
    if isinstance(error, NotWrittenError):
        raise error
    if isinstance(error, ValueError):
        return str(error)
    if os.environ.get("PPL_VAE_DEBUG"):
        raise error
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"by an error, {type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"
