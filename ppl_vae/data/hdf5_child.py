"""A program of its own that copies arrays out of an HDF5 file: the library can crash or never end on a damaged one.

``python hdf5_child.py FILE LARGEST GROUP...`` writes an ``.npz`` to its standard output: of each group the arrays, by
their places, and the attributes, by the place and ``@NAME``. Links to other files are not followed.
"""

import contextlib
import io
import resource
import sys
from typing import Any

import numpy as np


def main(path: str, largest: int, groups: list[str]) -> None:
    """Writes the arrays of some groups, at most so many bytes."""
    import h5py

    with contextlib.suppress(ValueError, OSError):  # there is a lower limit
        resource.setrlimit(resource.RLIMIT_AS, (2 * largest + 2**32, resource.RLIM_INFINITY))
    found: dict[str, np.ndarray[Any, Any]] = {}
    taken = 0

    def attributes(place: str, node: Any) -> None:
        for name, value in node.attrs.items():
            array = np.asarray(value)
            if array.dtype.kind in "OS":
                array = np.asarray(array.astype(str))
            if array.size < 100:
                found[f"{place}@{name}"] = array

    def visit(place: str, node: Any, depth: int) -> None:
        nonlocal taken
        attributes(place, node)
        if isinstance(node, h5py.Group):
            for name in node if depth < 4 else ():
                if isinstance(node.get(name, getlink=True), h5py.HardLink):
                    visit(f"{place}/{name}", node[name], depth + 1)
            return
        text = h5py.check_string_dtype(node.dtype) is not None
        if node.is_virtual or node.external or not (text or node.dtype.kind in "buif"):
            return
        taken += node.size * max(8, node.dtype.itemsize)
        if taken > largest:
            raise MemoryError(f"{place} takes more than {largest:,} bytes")
        found[place] = node.asstr()[()].astype(str) if text else node[()]

    with h5py.File(path, "r") as file:
        found["/"] = np.array(sorted(file))
        for place in ("layers", "raw"):
            if place in file:
                found[f"{place}/"] = np.array(sorted(file[place]))
        for group in groups:
            if group in file:
                visit(group, file[group], 0)
    buffer = io.BytesIO()
    np.savez(buffer, **found)  # type: ignore[arg-type]
    sys.stdout.buffer.write(buffer.getbuffer())


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
