"""Nearest neighbours of binary codes, by faiss where it is installed, else by NumPy, with the same result."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ppl_vae.diagnostics.retrieval.codes import Codes
from ppl_vae.plugins.extras import install

__all__ = ["Neighbours", "distance_blocks", "distances", "nearest"]

CELLS = 2**22
"""Largest number of distances held at once."""

_ONES = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)


class Neighbours(NamedTuple):
    """The nearest codes of each query, nearest first, ties by index.

    Arguments:
        distances: Hamming distances, ``(queries, count)``.
        indices: Positions in the database, ``(queries, count)``.
    """

    distances: NDArray[np.int64]
    indices: NDArray[np.int64]


def distances(queries: Codes, database: Codes) -> NDArray[np.uint16]:
    """Returns the Hamming distances of all pairs, ``(queries, data)``.

    Raises:
        ValueError: If the codes differ in length.

    Example:
        >>> distances(Codes.pack([[1, 0, 1]]), Codes.pack([[1, 0, 1], [0, 1, 1]])).tolist()
        [[0, 2]]
    """
    if queries.bits != database.bits:
        raise ValueError(f"queries have {queries.bits} bits but the database {database.bits}; encode both by one guide")
    result = np.zeros((len(queries), len(database)), dtype=np.uint16)
    # numpy before 2.0 counts no bits
    wide = hasattr(np, "bitwise_count")
    left, right = (_as_uint64(codes) if wide else codes.packed.T for codes in (queries, database))
    for one, other in zip(left, right, strict=True):
        differ = one[:, None] ^ other
        result += np.bitwise_count(differ) if wide else _ONES[differ]
    return result


def _as_uint64(codes: Codes) -> NDArray[np.uint64]:
    """Codes as words of 64 bits, ``(words, data)``."""
    lacking = -codes.packed.shape[1] % 8
    padded = np.pad(codes.packed, ((0, 0), (0, lacking)))
    return np.ascontiguousarray(np.ascontiguousarray(padded).view(np.uint64).T)


def distance_blocks(queries: Codes, database: Codes) -> Iterator[tuple[slice, NDArray[np.uint16]]]:
    """Yields slices of the queries, each with its :func:`distances`."""
    step = max(1, CELLS // max(1, len(database)))
    for start in range(0, len(queries), step):
        rows = slice(start, min(start + step, len(queries)))
        yield rows, distances(queries[rows], database)


def nearest(
    queries: Codes, database: Codes, count: int, *, backend: Literal["auto", "faiss", "numpy"] = "auto"
) -> Neighbours:
    """Returns the nearest codes of a database, by exhaustive search.

    Arguments:
        queries: Codes of the queries.
        database: Codes to search.
        count: Number of neighbours of each query, at most the size of the database.
        backend: Library to use; faiss is an extra, ``pip install 'ppl-vae[search]'``; ``"auto"`` uses it where it is
            installed.

    Raises:
        ValueError: If the codes differ in length, the database is empty, the count is not positive, or faiss is named
            but not installed.

    Example:
        >>> neighbours = nearest(Codes.pack([[1, 1]]), Codes.pack([[0, 0], [0, 1], [1, 0]]), 2)
        >>> neighbours.indices.tolist(), neighbours.distances.tolist()
        ([[1, 2]], [[1, 1]])
    """
    if queries.bits != database.bits:
        raise ValueError(f"queries have {queries.bits} bits but the database {database.bits}; encode both by one guide")
    if count < 1 or not len(database):
        raise ValueError(
            f"{count} neighbours among {len(database)} codes cannot be found; both numbers must be at least 1"
        )
    installed = importlib.util.find_spec("faiss") is not None
    if backend == "faiss" and not installed:
        raise ValueError(f"faiss is not installed; {install('search')}, or take the backend numpy")
    by_faiss = backend == "faiss" or (backend == "auto" and installed)
    return (_by_faiss if by_faiss else _by_numpy)(queries, database, min(count, len(database)))


def _by_faiss(queries: Codes, database: Codes, count: int) -> Neighbours:
    import faiss

    index = faiss.IndexBinaryFlat(8 * database.packed.shape[1])
    # Counting sort: equally near codes stay in the order of their indices, which a heap does not guarantee.
    index.use_heap = False
    index.add(np.ascontiguousarray(database.packed))
    result, indices = index.search(np.ascontiguousarray(queries.packed), count)
    return Neighbours(result.astype(np.int64), indices.astype(np.int64))


def _by_numpy(queries: Codes, database: Codes, count: int) -> Neighbours:
    keys = np.empty((len(queries), count), dtype=np.int64)
    for rows, block in distance_blocks(queries, database):
        # One number per code that orders by distance, then by index.
        order = block.astype(np.int64) * len(database) + np.arange(len(database))
        keys[rows] = np.sort(np.partition(order, count - 1, axis=1)[:, :count], axis=1)
    return Neighbours(*np.divmod(keys, len(database)))
