"""Batches of any fields as vectors of numbers, which the first layer of a network reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.images import image_shape
from ppl_vae.data.inputs import Batch, Inputs, main_field
from ppl_vae.nn.spread import FEWEST, location_and_spread

__all__ = ["ImageAndNumbers", "Numbers"]

MOST_CLASSES = 1000
"""Largest number of classes of an integer that is read as a one-hot vector."""


@dataclass(frozen=True)
class _Part:
    """How a field is read.

    Arguments:
        name: Its name.
        classes: Number of classes of an integer; 0 for what is read as it is.
        missing: Whether an indicator of NaN is read beside each number.
        width: Number of numbers a datum.
    """

    name: str
    classes: int
    missing: bool
    width: int

    def read(self, field: Tensor) -> Tensor:
        flat = field.flatten(1) if field.ndim > 1 else field[:, None]
        if self.classes:
            return flat == torch.arange(self.classes, device=flat.device)
        if self.missing:
            return torch.cat([flat, flat.isnan().to(flat)], 1)
        return flat

    def location_and_spread(self, field: Tensor) -> tuple[Tensor, Tensor]:
        """Those of its numbers; 0 and 1 of classes and indicators."""
        location, spread = torch.zeros(self.width), torch.ones(self.width)
        if not self.classes:
            known = location_and_spread(field)
            location[: len(known[0])], spread[: len(known[1])] = known
        return location, spread


class Numbers(nn.Module):
    """The fields of a batch side by side, as numbers: ``(data, width)``.

    Numbers are read flattened, less their location and in units of their spread
    (:func:`~ppl_vae.nn.spread.location_and_spread`), which belong to the state; with an example of fewer than 16 data,
    as they are. Where some of an example are NaN, they are read as 0 and an indicator beside each number says which.
    One integer a datum is a class and read as a one-hot vector, of as many classes as the example has (a class beyond
    them is a vector of zeros); several are numbers. Documents are left out, as are constants. A batch of one tensor is
    read as numbers of whatever kind.

    Arguments:
        x: An example of the data, with the largest class of each integer, and NaN where data have it
            (:func:`~ppl_vae.data.inputs.examples`).
        besides_main: Whether the main field is left out, too.
        raw: Whether numbers are read as they are, whatever the size of the example.

    Raises:
        ValueError: If an integer has too many classes or is negative, naming the field.

    Example:
        >>> x = Inputs(torch.tensor([[0.5], [1.5]]), torch.tensor([2, 0]))
        >>> Numbers(x)(x)
        tensor([[0.5000, 0.0000, 0.0000, 1.0000],
                [1.5000, 1.0000, 0.0000, 0.0000]])
    """

    location: Tensor
    spread: Tensor

    def __init__(self, x: Batch, *, besides_main: bool = False, raw: bool = False) -> None:
        super().__init__()
        self.parts = [
            _part(name, field, isinstance(x, Inputs))
            for name, field in _tensors(x).items()
            if not (besides_main and field is main_field(x))
        ]
        self.width = sum(part.width for part in self.parts)
        self.known = len(x) >= FEWEST and self.width > 0 and not raw
        fields, location, spread = _tensors(x), None, None
        if self.known:
            both = [part.location_and_spread(fields[part.name]) for part in self.parts]
            location, spread = (torch.cat(each) for each in zip(*both, strict=True))
        self.register_buffer("location", location)
        self.register_buffer("spread", spread)

    def forward(self, x: Batch, dtype: torch.dtype = torch.float32) -> Tensor:
        fields = _tensors(x)
        if missing := [part.name for part in self.parts if part.name not in fields]:
            raise ValueError(
                f"the guide was built for data with the field {missing[0]}, but the data have {', '.join(fields)}; "
                "build another guide for data of other fields"
            )
        parts = [part.read(fields[part.name]).to(dtype) for part in self.parts]
        result = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        if self.known:
            result = (result - self.location) / self.spread
        return result.nan_to_num(0.0) if any(part.missing for part in self.parts) else result


class ImageAndNumbers(nn.Module):
    """The main field of a batch as images, and the other fields as :class:`Numbers`.

    Images are read less their location and in units of their spread, with an example of fewer than 16 as they are; NaN
    as 0, with a channel beside each that says where, if an example has them.

    Arguments:
        x: An example of the data.

    Raises:
        ValueError: If the main field holds no images.
    """

    location: Tensor
    spread: Tensor

    def __init__(self, x: Batch) -> None:
        super().__init__()
        image = main_field(x)
        self.shape = image_shape(image.shape[1:] if isinstance(image, Tensor) else ())
        self.others = Numbers(x, besides_main=True)
        self.missing = isinstance(image, Tensor) and bool(image.isnan().any())
        self.channels = self.shape[0] * (2 if self.missing else 1)
        self.known = len(x) >= FEWEST
        known = location_and_spread(image) if self.known and isinstance(image, Tensor) else (None, None)
        for name, value in zip(("location", "spread"), known, strict=True):
            self.register_buffer(name, None if value is None else value.reshape(self.shape))

    def images(self, x: Batch, dtype: torch.dtype) -> Tensor:
        """The images, ``(data, channels, height, width)``."""
        image = main_field(x)
        assert isinstance(image, Tensor)
        image = image.reshape(-1, *self.shape).to(dtype)
        if self.known:
            image = (image - self.location) / self.spread
        if self.missing:
            image = torch.cat([image.nan_to_num(0.0), image.isnan().to(image)], 1)
        return image

    def beside(self, features: Tensor, x: Batch) -> Tensor:
        """Features of the images, ``(data, features)``, and the numbers of the other fields beside them."""
        return torch.cat([features, self.others(x, features.dtype)], 1) if self.others.width else features


def _tensors(x: Batch) -> dict[str, Tensor]:
    fields = x.fields() if isinstance(x, Inputs) else {"x": x}
    return {name: field for name, field in fields.items() if not isinstance(field, PackedCounts)}


def _part(name: str, field: Tensor, several: bool) -> _Part:
    width = field.shape[1:].numel()
    if field.is_floating_point():
        missing = bool(field.isnan().any())
        return _Part(name, 0, missing, 2 * width if missing else width)
    if not several or width != 1 or field.dtype == torch.bool:
        return _Part(name, 0, False, width)
    low, high = int(field.min()), int(field.max())
    if low < 0 or high >= MOST_CLASSES:
        raise ValueError(
            f"the guide reads the integers of field {name!r} as classes, at most {MOST_CLASSES} from 0, but they go "
            f"from {low} to {high}; give numbers as floats, or write a guide of your own"
        )
    return _Part(name, high + 1, False, high + 1)
