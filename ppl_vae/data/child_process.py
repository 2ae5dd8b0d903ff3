"""Arrays of a file whose library can crash or never end on a damaged one: read by a process of its own."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ppl_vae.data.array_file import array_of
from ppl_vae.data.sizes import check_bytes, memory_budget
from ppl_vae.data.text_file import unquoted
from ppl_vae.plugins.nearest import NotFoundError

__all__ = ["arrays_by_child"]

_SECONDS = 60
"""Seconds after which reading ends at the earliest."""

_BYTES_A_SECOND = 2_000_000
"""Bytes of the file for each second more."""


def arrays_by_child(path: Path, program: str, kind: str, *arguments: str) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` that a program of this folder writes to its standard output, by their names.

    Arguments:
        path: The file that the program reads.
        program: Name of the program, which is called with the file, the largest number of bytes and the arguments.
        kind: What the file should be, such as "HDF5 file", for errors.
        arguments: Further arguments.

    Raises:
        ValueError: If the file is missing, damaged, not of the kind, or larger than the memory allows.
    """
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}; check the path")
    size = path.stat().st_size
    check_bytes(str(path), size, "on disk")
    child = [sys.executable, "-P", str(Path(__file__).with_name(program))]
    try:
        done = subprocess.run(  # noqa: S603  (this interpreter, and a file of this package)
            [*child, str(path.absolute()), str(memory_budget()), *arguments],
            capture_output=True,
            timeout=_SECONDS + size / _BYTES_A_SECOND,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"{path} is damaged: reading it does not come to an end; write it again") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = unquoted(said[-1], 160) if said else f"its reader ended with {done.returncode}"
        raise ValueError(f"{path} is damaged, too large or no {kind} ({reason}); write it again")
    with zipfile.ZipFile(io.BytesIO(done.stdout)) as archive:
        return {name.removesuffix(".npy"): array_of(str(path), archive.read(name)) for name in archive.namelist()}
