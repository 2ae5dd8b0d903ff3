"""Checks that the density of a datum is a function of the datum and its latents alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch, data_width
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.blocks import data_block
from ppl_vae.programs.densities import agree
from ppl_vae.programs.handlers import Site, SubstituteLatents, latents, log_prob, run
from ppl_vae.programs.layout_finder import REFUSED
from ppl_vae.programs.placed import of_places
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Program

__all__ = ["check_deterministic", "check_places", "check_repeats", "dependence_faults", "placed_site"]

_BLOCK = 2**10
"""Most data of a block that is compared with a larger batch."""

_MOST, _NUMBERS = 2**13, 2**19
"""Most data of the largest batch, and most numbers of its data."""

_ROUNDING = 2e-6
"""Relative error of the parameters of a guide by rounding, a few units of the last place of single precision."""


def check_deterministic(model: Program, x: Batch) -> None:
    """Checks that log p(x, z) of a datum is the same number whenever and beside whatever other data it is computed.

    Raises:
        ValueError: If it changes from call to call, the program being random beside its sample sites, with the other
            rows of the batch, or with the place of the datum among them.
    """
    for fault in dependence_faults(model, x).values():
        raise fault


def dependence_faults(program: Program, x: Batch, who: str = "model") -> dict[str, ValueError]:
    """The first fault of each site by :func:`check_deterministic`.

    Arguments:
        program: A model or guide.
        x: All data.
        who: What it is called.
    """
    own = "an evidence" if who == "model" else "a bound"
    with evaluating(program), fork_random_state():
        drawn = run(program, (x[:2],), {}, draws=2)
        fixed = SubstituteLatents(drawn.values_of_latents())
        runs = [run(program, (x[:2],), {}, draws=2, handler=fixed) for _ in range(2)]
        alone = _first_alone(program, x, {name: site["value"] for name, site in latents(drawn).items()})
    first, second = map(_densities, runs)
    faults = _faults_of_repeats(first, second, who)
    for name, one in first.items():
        if (
            name not in faults
            and name in alone
            and one.shape[1:] == (2,)
            and not agree(one[:, :1], log_prob(alone[name]), 1e-3)
        ):
            faults[name] = ValueError(
                f"the density of site {name!r} for a datum changes with the other data of its batch, so that no datum "
                f"has {own} of its own; let every operation over data (a mean, batch normalisation by the "
                "batch) act on each row alone"
            )
    with evaluating(program), fork_random_state():
        return faults or _faults_of_batches(program, x, who, own)


def check_repeats(guide: Program, x: Batch) -> None:
    """Checks that log q(z given x) of the same latents is the same number whenever it is computed.

    Raises:
        ValueError: If it changes from call to call, naming the site.
    """
    with evaluating(guide), fork_random_state():
        try:
            fixed = SubstituteLatents(run(guide, (x[:2],), {}, draws=2).values_of_latents())
            runs = [run(guide, (x[:2],), {}, draws=2, handler=fixed) for _ in range(2)]
            one, other = (_densities(sites) for sites in runs)
        except (ValueError, RuntimeError, IndexError):
            return  # a density at its own draws only, or a guide of these very data, as some autoguides are
    for fault in _faults_of_repeats(one, other, "guide").values():
        raise fault


def check_places(guide: Program, x: Batch) -> None:
    """Refuses a guide by :func:`placed_site` where a training takes batches and measures held-out data.

    Raises:
        ValueError: Naming the site.
    """
    if (site := placed_site(guide, x)) is not None:
        raise ValueError(
            f"{of_places(site)}, but a run trains on batches and measures held-out data; compute the "
            "parameters from the data (an amortised guide, such as mean_field), or train it by Pyro's SVI and measure "
            "those data (pv.measure)"
        )


def placed_site(guide: Program, x: Batch) -> str | None:
    """A latent whose density under a guide changes with the place of its datum in the batch; None if none does.

    So do guides with parameters for each place, which can be run on all data together, and on nothing else.
    """
    x = x[: max(2, min(_MOST, _NUMBERS // data_width(x)))]
    back = torch.arange(len(x) - 1, -1, -1)
    with evaluating(guide), fork_random_state():
        try:
            drawn = run(guide, (x,), {}, draws=1)
            values = {name: site["value"] for name, site in latents(drawn).items()}
            turned = {n: v[:, back.to(v.device)] if v.shape[1:2] == (len(x),) else v for n, v in values.items()}
            again = run(guide, (x[back],), {}, draws=1, handler=SubstituteLatents(turned))
            one, other = _densities(drawn), _densities(again)
            wrong = [n for n in one if one[n].shape == other[n].shape and not agree(one[n].flip(-1), other[n], 1e-3)]
            if not wrong:
                return None
            # A narrow density far from 0 is known no better than its values are.
            nearby = {n: v * (1 + _ROUNDING) if v.is_floating_point() else v for n, v in values.items()}
            moved = _densities(run(guide, (x,), {}, draws=1, handler=SubstituteLatents(nearby)))
        except REFUSED:
            return None  # a guide of these very data, which says so where it is given others
    for name in wrong:
        known_to = (moved[name] - one[name]).abs() + 1e-3 * (1 + one[name].abs())
        if not bool(((one[name] - other[name].flip(-1)).abs() <= known_to).all()):
            return name
    return None


def _densities(sites: Mapping[str, Site]) -> dict[str, Tensor]:
    return {name: log_prob(site) for name, site in sites.items()}


def _faults_of_repeats(one: Mapping[str, Tensor], other: Mapping[str, Tensor], who: str) -> dict[str, ValueError]:
    _check_same_sites(one, other, who)
    return {
        name: ValueError(
            f"the density of site {name!r} changes from call to call, although data and latents are the same: the "
            f"{who} draws random numbers outside its sample sites (torch.nn.functional.dropout outside a module?); "
            "use modules, which are put into evaluation mode, or sample sites"
        )
        for name in one
        if not agree(one[name], other[name])
    }


def _faults_of_batches(program: Program, x: Batch, who: str, own: str) -> dict[str, ValueError]:
    """Sites by which data have other densities in other batches: in reverse order, in a block, and a few alone.

    The largest is larger than a block, in which measurements work through the data.
    """
    faults = dict[str, ValueError]()
    block = min(_BLOCK, data_block(x))
    x = x[: max(block, min(_MOST, _NUMBERS // data_width(x)))]
    drawn = run(program, (x,), {}, draws=1)
    values = {name: site["value"] for name, site in latents(drawn).items()}
    for places, remedy in _batches(len(x), block, own):
        of_these = {n: v[:, places.to(v.device)] if v.shape[1:2] == (len(x),) else v for n, v in values.items()}
        again = run(program, (x[places],), {}, draws=1, handler=SubstituteLatents(of_these))
        _check_same_sites(drawn, again, who)
        for name, site in drawn.items():
            one, other = log_prob(site), log_prob(again[name])
            if name in faults or one.shape[1:] != (len(x),) or other.shape[1:] != places.shape:
                continue
            if not agree(one[:, places.to(one.device)], other, 1e-3):
                faults[name] = ValueError(
                    f"the density of site {name!r} for a datum changes with {remedy.format(len(places), len(x))}"
                )
        if faults:
            break
    return faults


def _check_same_sites(one: Mapping[str, object], other: Mapping[str, object], who: str) -> None:
    if differ := sorted(set(one) ^ set(other)):
        raise ValueError(
            f"the {who} has the site {differ[0]!r} for some batches only: which sites a program has must not depend on "
            "its data or on chance; let every run have the same sites, masked where they do not count"
        )


def _batches(count: int, block: int, own: str) -> Iterator[tuple[Tensor, str]]:
    """Places of the data of further batches, and what differs there and the remedy, in words."""
    yield (
        torch.arange(count - 1, -1, -1),
        (
            f"its place in the batch, so that no datum has {own} of its own; give what belongs to each datum as a "
            "further argument, model(x, y), instead of taking rows of a tensor from outside, and let recurrent "
            "networks run over time, not over data (batch_first=True)"
        ),
    )
    size = (
        f"the other data of its batch, or their number ({{}} or {{}} in all), so that no datum has {own} of its own; "
        "let every operation over data (a mean, batch normalisation by the batch) act on each row alone, and nothing "
        "but the plate depend on len(x)"
    )
    if count > 3:
        yield torch.tensor([0, count // 2, count - 1]), size
    if count > block:
        yield torch.arange(count - block, count), size


def _first_alone(model: Program, x: Batch, values: Mapping[str, Tensor]) -> Mapping[str, Site]:
    """The sites of the first datum alone with the same latents; none where the program does not run on one datum."""
    first = {name: value[:, :1] for name, value in values.items() if value.ndim > 1 and value.shape[1] == 2}
    if len(first) < len(values) or len(x) < 2:
        return {}
    try:
        return run(model, (x[:1],), {}, draws=2, handler=SubstituteLatents(first))
    except (ValueError, RuntimeError, IndexError):
        return {}
