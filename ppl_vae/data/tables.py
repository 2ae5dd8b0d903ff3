"""Tensors from arrays and from tables, such as those of pandas, which is no dependency."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["tensor_of"]


def tensor_of(values: Any) -> Tensor:  # an array, or anything with to_numpy
    """The numbers of an array or a table: floats of PyTorch's default precision, integers, or booleans.

    Raises:
        ValueError: If they are no numbers, naming the first column of a table that holds none.
    """
    if not isinstance(values, np.ndarray):
        items = getattr(getattr(values, "dtypes", None), "items", dict[str, Any]().items)
        columns = dict(items())
        wrong = [name for name, kind in columns.items() if kind.kind not in "buif"]
        if wrong:
            raise ValueError(
                f"column {str(wrong[0])!r} of the table holds {columns[wrong[0]]}, no numbers; leave it out, or code "
                "it as integers and give it as a further field"
            )
        values = values.to_numpy()
    if values.dtype.kind not in "buif":
        raise ValueError(f"an array of {values.dtype} is no data; give floats, integers or booleans")
    if values.dtype == np.uint64 and values.size and values.max() > np.iinfo(np.int64).max:
        raise ValueError(f"an array of uint64 holds {values.max()}, above 2**63 - 1; give int64, or floats")
    if values.ndim:
        values = np.ascontiguousarray(values)
    tensor = torch.as_tensor(values if values.flags.writeable else values.copy())
    if tensor.is_floating_point():
        return tensor.to(torch.get_default_dtype())
    return tensor if tensor.dtype == torch.bool else tensor.long()  # bytes would index as a mask does
