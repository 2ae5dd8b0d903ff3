"""A program of its own that copies numbers out of a MATLAB file: reading a damaged one can crash or never end.

``python mat_child.py FILE LARGEST`` writes an ``.npz`` to its standard output: each variable of numbers by its name; of
a sparse one its parts in compressed columns, ``NAME.data``, ``NAME.indices``, ``NAME.indptr`` and ``NAME.shape``; and
the names of all others in ``others``.
"""

import contextlib
import io
import resource
import sys
from typing import Any

import numpy as np

NUMBERS = {"double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}


def main(path: str, largest: int) -> None:
    """Writes the variables, at most so many bytes."""
    from scipy.io import loadmat, whosmat

    with contextlib.suppress(ValueError, OSError):  # there is a lower limit
        resource.setrlimit(resource.RLIMIT_AS, (2 * largest + 2**32, resource.RLIM_INFINITY))
    try:
        listed = whosmat(path, appendmat=False)
    except NotImplementedError:  # of version 7.3
        found, others = _of_hdf5(path, largest)
    else:
        names = [name for name, _, kind in listed if kind in NUMBERS or kind == "sparse"]
        _check(sum(8 * float(np.prod(shape, dtype=float)) for _, shape, kind in listed if kind in NUMBERS), largest)
        content = loadmat(path, appendmat=False, variable_names=names, verify_compressed_data_integrity=True)
        found = {name: content[name] for name in names if name in content}
        others = [name for name, _, _ in listed if name not in found]
    arrays: dict[str, np.ndarray[Any, Any]] = {"others": np.array(others, dtype=str)}
    for name, value in found.items():
        if not name.isidentifier():
            raise ValueError(f"a variable is called {name[:40]!r}")
        if hasattr(value, "indptr"):
            for part in ("data", "indices", "indptr"):
                arrays[f"{name}.{part}"] = np.asarray(getattr(value, part))
            arrays[f"{name}.shape"] = np.array(value.shape)
        else:
            arrays[name] = np.asarray(value)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    sys.stdout.buffer.write(buffer.getbuffer())


def _check(size: float, largest: int) -> None:
    if size > largest:
        raise MemoryError


def _of_hdf5(path: str, largest: int) -> tuple[dict[str, Any], list[str]]:
    """Variables of a file of version 7.3, which is HDF5 with the axes in reverse order."""
    try:
        import h5py
    except ImportError:
        raise ModuleNotFoundError("MATLAB 7.3 writes HDF5, which needs h5py: pip install 'ppl-vae[h5ad]'") from None
    from scipy.sparse import csc_matrix

    found: dict[str, Any] = {}
    others, taken = [], 0
    with h5py.File(path, "r") as file:
        for name in file:
            if name.startswith("#") or not isinstance(file.get(name, getlink=True), h5py.HardLink):
                continue
            node = file[name]
            sparse = isinstance(node, h5py.Group) and "MATLAB_sparse" in node.attrs and {"data", "ir", "jc"} <= {*node}
            parts = [node[part] for part in ("data", "ir", "jc")] if sparse else [node]
            plain = all(isinstance(p, h5py.Dataset) and not p.is_virtual and not p.external for p in parts)
            if not plain or any(p.dtype.kind not in "buif" for p in parts) or "MATLAB_empty" in node.attrs:
                others.append(name)
                continue
            taken += sum(part.size * max(8, part.dtype.itemsize) for part in parts)
            _check(taken, largest)
            if sparse:
                data, rows, starts = (part[()] for part in parts)
                found[name] = csc_matrix(
                    (data, rows, starts), shape=(int(node.attrs["MATLAB_sparse"]), len(starts) - 1)
                )
            else:
                found[name] = node[()].T
    return found, others


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except MemoryError:  # under the limit of this process
        sys.exit(f"its variables take more than {int(sys.argv[2]):,} bytes, or a damaged size says so")
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
