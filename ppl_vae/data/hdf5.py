"""Arrays of an HDF5 file, read by a process of its own."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ppl_vae.data.child_process import arrays_by_child
from ppl_vae.plugins.extras import install

__all__ = ["hdf5_arrays"]


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
        raise ValueError(f"{path} is an HDF5 file, which needs h5py: {install('h5ad')}")
    return arrays_by_child(path, "hdf5_child.py", "HDF5 file", *groups)
