"""Arrays of an HDF5 file, read by a process of its own."""

from __future__ import annotations

import importlib.util
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

__all__ = ["hdf5_arrays"]

_SECONDS = 60
"""Seconds after which reading ends at the earliest."""

_BYTES_A_SECOND = 2_000_000
"""Bytes of the file for each second more."""


def hdf5_arrays(path: Path, *groups: str) -> dict[str, NDArray[Any]]:
    """Arrays of numbers and texts in some groups of a file, by their places; attributes by ``PLACE@NAME``.

    Arguments:
        path: The file.
        groups: Places of groups or arrays.

    Raises:
        ValueError: If h5py is not installed, with the command that installs it; or if the file is no HDF5 file,
            damaged, or larger than the memory allows.
    """
    if importlib.util.find_spec("h5py") is None:
        raise ValueError(f"{path} is an HDF5 file, which needs h5py: pip install 'ppl-vae[h5ad]'")
    if not path.is_file():
        raise ValueError(f"there is no file {path}; check the path")
    size = path.stat().st_size
    check_bytes(str(path), size, "on disk")
    child = [sys.executable, "-P", str(Path(__file__).with_name("hdf5_child.py"))]
    try:
        done = subprocess.run(  # noqa: S603  (this interpreter, and a file of this package)
            [*child, str(path.absolute()), str(memory_budget()), *groups],
            capture_output=True,
            timeout=_SECONDS + size / _BYTES_A_SECOND,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"{path} is damaged: reading it does not come to an end; write it again") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = unquoted(said[-1], 160) if said else f"its reader ended with {done.returncode}"
        raise ValueError(f"{path} is damaged, too large or no HDF5 file ({reason}); write it again")
    with zipfile.ZipFile(io.BytesIO(done.stdout)) as archive:
        return {name.removesuffix(".npy"): array_of(str(path), archive.read(name)) for name in archive.namelist()}
