"""Sites of any program seen in one form: samples, then data, and all other plates as dimensions of an event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.programs.densities import Site, is_deterministic
from ppl_vae.programs.rearranged import CannotRebuildError, Rearranged, is_same, rebuilt

__all__ = ["DRAWS", "Arrangement", "Canonical", "Layout", "Vectorise"]

DRAWS = "draws (added by ppl-vae)"
"""Name of the plate around a program whose dimension counts samples."""

Vectorise = Literal["left", "fold", "loop"]


@dataclass(frozen=True)
class Layout:
    """How a program lays out its data, and how it is run for many samples at once.

    Arguments:
        plates: Number of dimensions of the program's own plates.
        vectorise: ``"left"`` adds the samples as a dimension left of the plates; ``"fold"`` repeats the data, one copy
            per sample; ``"loop"`` runs the program once per sample.
        names: The plates over data, which have one dimension; empty where there is none.
        dim: Dimension of these plates, counted from the right.
        canonical: Whether the program's sites are in canonical form already.
        loops: Whether a plate inside is a Python loop.
        outside: Whether a site lies outside the plates over data.
        rows: The only number of data the program takes; None where it takes any.
        latents: Names of the latents, and the dimensions of the plates around each.
        fixed: Whether the plates over data have the size of all data, of which a batch is a subsample.
        opaque: Sites whose distributions are not given by their parameters.
        failure: The error of a program that did not run.
        others: Names and sizes of the plates of a program none of which is over data.
        masked: Whether the distribution of a latent has a mask, ``dist.Normal(0, 1).mask(m)``.
    """

    plates: int = 1
    vectorise: Vectorise = "left"
    names: frozenset[str] = frozenset()
    dim: int = -1
    canonical: bool = False
    loops: bool = False
    outside: bool = False
    rows: int | None = None
    latents: frozenset[tuple[str, tuple[int, ...]]] = frozenset()
    fixed: bool = False
    opaque: frozenset[str] = frozenset()
    failure: Exception | None = None
    others: tuple[tuple[str, int], ...] = ()
    masked: bool = False

    def turn(self, vectorise: Vectorise) -> Layout:
        """The same layout, with samples taken in another way."""
        return replace(self, vectorise=vectorise)

    @property
    def shows_sites_as_they_are(self) -> bool:
        """Whether nothing need be done to the program's sites."""
        return not self.names or (self.canonical and self.vectorise == "left")


@dataclass(frozen=True)
class Arrangement:
    """Where the dimensions of one site lie in its program, and in canonical form ``(draws, data, *nested, *event)``.

    Arguments:
        site: Its name.
        dims: Number of batch dimensions in the program.
        left: Whether the first of them counts samples; otherwise the data are repeated, one copy per sample.
        data: Dimension of the data, counted from the right of the batch shape; None outside their plate.
        nested: Dimensions of the other plates.
        draws: Number of samples.
    """

    site: str
    dims: int
    left: bool
    data: int | None
    nested: tuple[int, ...]
    draws: int

    @property
    def is_identity(self) -> bool:
        return self.left and self.dims == 2 and self.data == -1

    def _order(self) -> list[int]:
        """Positions of the dimensions in the program, in canonical order; first those of size 1 in no plate."""
        kept = [d for d in (-self.dims if self.left else None, self.data, *self.nested) if d is not None]
        rest = [d for d in range(-self.dims, 0) if d not in kept]
        return [self.dims + d for d in (*rest, *kept)]

    def arrange(self, tensors: Sequence[Tensor], events: int) -> Tensor:
        """A tensor ``(*batch, *event)`` of the program in canonical form."""
        (tensor,) = tensors
        lead = tensor.ndim - events
        if lead > self.dims:
            raise ValueError(
                f"site {self.site!r} has {lead} batch dimensions, more than its plates: its shape is "
                f"{tuple(tensor.shape)}; declare the others with .to_event, or open a pyro.plate for each"
            )
        tensor = tensor[(None,) * (self.dims - lead)]
        order = self._order()
        tensor = tensor.permute(*order, *range(self.dims, tensor.ndim))
        rest = self.dims - self.left - (self.data is not None) - len(self.nested)
        if any(size != 1 for size in tensor.shape[:rest]):
            raise ValueError(
                f"site {self.site!r} has dimensions of sizes {tuple(tensor.shape[:rest])} that belong to none of its "
                "plates; declare them with .to_event, or open a pyro.plate for each"
            )
        tensor = tensor[(0,) * rest]
        if self.data is None:
            tensor = tensor.unsqueeze(int(self.left))
        if self.left:
            return tensor
        return tensor[None] if len(tensor) == 1 else tensor.unflatten(0, (self.draws, -1))

    def restore(self, value: Tensor, events: int, shape: torch.Size) -> Tensor:
        """A value in canonical form, with one or more samples and data, as the program has it.

        Arguments:
            value: ``(draws or 1, data or 1, *nested, *event)``; the first one or two may be missing.
            events: Number of dimensions of the event in the program.
            shape: The batch shape of its distribution in the program.
        """
        missing = 2 + len(self.nested) + events - value.ndim
        value = value[(None,) * missing]
        if self.data is None:
            value = value[:, 0] if self.left else value[0, 0]
        elif not self.left:
            value = value.expand(self.draws, shape[self.data] // self.draws, *value.shape[2:]).flatten(0, 1)
        order = self._order()
        kept = int(self.left) + (self.data is not None) + len(self.nested)
        value = value[(None,) * (self.dims - kept)]
        back = sorted(range(self.dims), key=order.__getitem__)
        value = value.permute(*back, *range(self.dims, value.ndim))
        while value.ndim - events > len(shape) and len(value) == 1:
            value = value[0]  # a dimension of a plate that is open elsewhere only
        return value


class Canonical(Messenger):
    """Shows handlers outside of it canonical sites, and gives the program the values it expects.

    Arguments:
        layout: Of the program.
        draws: Number of samples.
        training: Whether subsampling plates keep their meaning.
        opaque: Collects sites whose distributions turn out not to be given by their parameters; None does not look.
    """

    def __init__(self, layout: Layout, draws: int, training: bool, opaque: set[str] | None = None) -> None:
        super().__init__()
        self.layout, self.draws, self.training, self.opaque = layout, draws, training, opaque
        self._native: tuple[Site, Arrangement, Any] | None = None

    def _pyro_sample(self, msg: Site) -> None:
        self._native = None
        if poutine.util.site_is_subsample(msg):
            self._check_subsample(msg)
        elif not is_deterministic(msg):
            self._arrange(msg)

    def _check_subsample(self, msg: Site) -> None:
        name, size, taken = msg["name"], msg["fn"].size, msg["fn"].subsample_size
        if name == DRAWS or taken is None or taken == size:
            return
        if name not in self.layout.names and not self.training:
            raise ValueError(
                f"plate {name!r}, which is not the plate over data, takes {taken} of {size}: the density of a datum is "
                "not known from a part of it; let the plate take all of them (no subsample_size)"
            )

    def _arrange(self, msg: Site) -> None:
        layout, left = self.layout, self.layout.vectorise == "left"
        frames = [f for f in msg["cond_indep_stack"] if f.name != DRAWS]
        over_data = next((f for f in frames if f.name in layout.names), None)
        if over_data is not None and over_data.dim is None:
            raise ValueError(
                f"plate {over_data.name!r} over data is a Python loop; write `with pyro.plate({over_data.name!r}, ...)`"
            )
        data = None if over_data is None else over_data.dim
        nested = tuple(sorted(f.dim for f in frames if f.dim is not None and f is not over_data))
        form = Arrangement(msg["name"], layout.plates + left, left, data, nested, self.draws)
        fn, value, mask = msg["fn"], msg["value"], msg["mask"]
        native = {key: msg[key] for key in ("fn", "value", "mask", "scale", "cond_indep_stack")}
        if isinstance(mask, Tensor) and nested:
            fn, mask = fn.mask(mask), None
        elif isinstance(mask, Tensor):
            mask = form.arrange([mask], 0)
        msg["mask"], msg["scale"] = mask, self._scale(msg["scale"], form, over_data)
        if not form.is_identity or nested:
            msg["fn"] = self._distribution(fn, value, form)
            if isinstance(value, Tensor):
                msg["value"] = self._observed(value, fn, form)
        size = msg["fn"].batch_shape[-1]
        stack = [CondIndepStackFrame(DRAWS, -2, self.draws, 0)]
        if over_data is not None:
            stack.append(CondIndepStackFrame("data", -1, size, 0, over_data.full_size))
        msg["cond_indep_stack"] = tuple(stack)
        self._native = native, form, msg["value"]

    def _distribution(self, fn: TorchDistribution, value: object, form: Arrangement) -> TorchDistribution:
        shape = torch.Size((1,) * (form.dims - len(fn.batch_shape))) + fn.batch_shape

        def restore(given: Tensor, events: int) -> list[Tensor]:
            return [form.restore(given, events, shape) if isinstance(given, Tensor) else given]

        view = Rearranged([fn], form.arrange, restore, shape, len(form.nested))
        if form.site in self.layout.opaque or not (value is None or isinstance(value, Tensor)):
            return view
        try:
            made = rebuilt([fn], form.arrange, shape).to_event(len(form.nested))
        except CannotRebuildError:
            return view
        if self.opaque is not None and not is_same(made, view):
            self.opaque.add(form.site)
        return view if self.opaque is not None and form.site in self.opaque else made

    def _observed(self, value: Tensor, fn: TorchDistribution, form: Arrangement) -> Tensor:
        """An observed value in canonical form, without a dimension of samples that it does not have."""
        events = len(fn.event_shape)
        arranged = form.arrange([value], events)
        sizes = [fn.batch_shape[d] if -d <= len(fn.batch_shape) else 1 for d in form.nested]
        arranged = arranged.expand(*arranged.shape[:2], *sizes, *arranged.shape[arranged.ndim - events :])
        if len(arranged) > 1 and not form.left:  # repeated for each sample, unless the program made another of each
            same = (arranged == arranged[:1]) | (arranged.isnan() & arranged[:1].isnan())
            return arranged[0] if bool(same.all()) else arranged
        return arranged[0] if len(arranged) == 1 else arranged

    def _scale(self, scale: Tensor | float, form: Arrangement, over_data: CondIndepStackFrame | None) -> Tensor | float:
        if isinstance(scale, Tensor) and scale.ndim:
            scale = form.arrange([scale], 0)
            for _ in form.nested:
                first = scale[..., :1]
                if not torch.equal(first.expand_as(scale), scale):
                    raise ValueError(
                        f"site {form.site!r} has a scale for each element of a plate inside the plate over data; "
                        "scale whole sites or whole data"
                    )
                scale = first[..., 0]
        # The plate counts a copy of the data for each sample as further data of the subsample.
        return scale * self.draws if self.layout.fixed and not form.left and over_data is not None else scale

    def _pyro_post_sample(self, msg: Site) -> None:
        if self._native is None:
            return
        native, form, observed = self._native
        self._native = None
        value, fn = msg["value"], native["fn"]
        msg.update(native)
        if value is not observed or native["value"] is None:
            msg["value"] = value
            if isinstance(value, Tensor) and (not form.is_identity or form.nested):
                msg["value"] = form.restore(value, len(fn.event_shape), fn.batch_shape)
