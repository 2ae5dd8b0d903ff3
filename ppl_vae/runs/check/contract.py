"""What a model and its guide must keep for a number per datum to be one: plate, support, independence, cover."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch
from ppl_vae.distributions.wrappers import chain
from ppl_vae.evidence.clamping import early_notes
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.clamped import given_probs
from ppl_vae.programs.densities import Site, innermost
from ppl_vae.programs.fit import support_of
from ppl_vae.programs.handlers import latents, pair_faults, run
from ppl_vae.programs.invariance import check_places, check_repeats, dependence_faults
from ppl_vae.programs.layouts import layout_of
from ppl_vae.programs.loading import check_fit
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.support import check_plate, observed_sites, support_faults, support_in_words
from ppl_vae.runs.check.ledger import Ledger

__all__ = ["check_cover", "check_model", "check_modes", "check_weights"]

SWITCHED = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.modules.instancenorm._InstanceNorm)
"""Layers that compute something else in training than in evaluation mode."""

WAYS = {
    "left": "draws of the latents are a dimension on its left",
    "fold": "the data are repeated for each draw of the latents, as networks that reshape need it",
    "loop": "the model runs once for each draw of the latents, which is slow",
}

ROUNDED = (
    "PyTorch takes probs below 1.2e-7 as 1.2e-7, so that no value costs more than 15.9 nats, and evidence that depends "
    "on it has a note: give logits"
)


def check_model(ledger: Ledger, model: nn.Module, splits: Mapping[str, Batch]) -> bool:
    """Adds the rows of the model alone; returns whether it scores data one by one."""
    x = splits["train"]
    if not ledger.holds("model", lambda: check_plate(model, x), lambda: check_fit(model, x[:2])):
        return False
    layout = layout_of(model, (x,), {})
    names = " and ".join(map(repr, sorted(layout.names)))
    slow = layout.vectorise == "loop"
    ledger.add(
        "plate over data",
        f"{names} of the number of data, dim {layout.dim}: {WAYS[layout.vectorise]}",
        "count dimensions from the right, x[..., 0] instead of x[:, 0]" if slow else "",
        "note" if slow else "ok",
        plates=sorted(layout.names),
        dim=layout.dim,
        vectorise=layout.vectorise,
    )
    _check_support(ledger, model, splits)
    faults = ledger.attempt("batch independence", lambda: dependence_faults(model, x), doubtful=ledger.has_fault)
    if faults is not None and not ledger.faults("batch independence", faults.values()):
        ledger.add("batch independence", "a datum has the same density beside any others, in any order and number")
    return True


def _check_support(ledger: Ledger, model: nn.Module, splits: Mapping[str, Batch]) -> None:
    """Adds a row for each observed site: what it observes, and whether all data can be drawn there."""

    def faults_of_all() -> dict[str, ValueError]:
        faults = dict[str, ValueError]()
        for name, x in splits.items():
            if len(x):
                faults = support_faults(model, x, name) | faults
        return faults

    faults = ledger.attempt("observed data", faults_of_all)
    if faults is None:
        return
    with evaluating(model), fork_random_state():
        observed = observed_sites(model, splits["train"][:2])
    for name, site in observed.items():
        if name in faults:
            ledger.fault(f"observed {name}", faults[name])
            continue
        support = support_of(innermost(site["fn"]))
        counts = isinstance(site["value"], PackedCounts)
        taken = "word counts" if counts else "values" if support is None else support_in_words(support)
        rounded = ROUNDED if given_probs({name: site}) else ""
        text = f"{_described(site)}, takes {taken}, as all data are"
        ledger.add(f"observed {name}", text, rounded, "note" if rounded else "ok")


def check_cover(ledger: Ledger, model: nn.Module, guide: nn.Module, x: Batch) -> bool:
    """Adds a row for each latent, or for each fault of the guide; returns whether the guide covers the latents."""
    faults = ledger.attempt("guide", lambda: pair_faults(model, guide, x))
    if faults is None or ledger.faults("guide", faults):
        return False
    with evaluating(model, guide), fork_random_state():
        priors, drawn = (latents(run(program, (x[:2],), {}, draws=1, training=True)) for program in (model, guide))
    for name, site in drawn.items():
        ledger.add(f"latent {name}", f"{_described(priors[name])}; the guide draws it from {_family(site)}")
    for note in early_notes(model, x[:2]):
        ledger.add("probabilities", note, status="note")
    if ledger.holds("guide", lambda: check_repeats(guide, x), lambda: check_places(guide, x)):
        joint = ledger.attempt("guide", lambda: dependence_faults(guide, x, "guide"), doubtful=True)
        for error in (joint or {}).values():
            ledger.add("guide", str(error), status="note")
    return True


def check_weights(ledger: Ledger, programs: Mapping[str, nn.Module], x: Batch) -> None:
    """Adds a row of the scales, masks and factors of both programs, and how they are treated."""
    found = [line for who, program in programs.items() for line in _weights(who, program, x)]
    if found:
        ledger.add("scales, masks, factors", "; ".join(found), status="note")
    else:
        ledger.add("scales, masks, factors", "none: what is trained is what is measured")


def _weights(who: str, program: nn.Module, x: Batch) -> Iterator[str]:
    with evaluating(program), fork_random_state():
        sites = run(program, (x,), {}, draws=1, training=True)
    for name, site in sites.items():
        scale = torch.as_tensor(site["scale"])
        if type(innermost(site["fn"])).__name__ == "Unit":
            yield f"factor {name!r} of the {who} counts in training alone"
            continue
        if bool((scale != 1).any()):
            least, most = scale.min().item(), scale.max().item()
            factor = f"{least:g}" if least == most else f"{least:g} to {most:g}"
            yield f"{name!r} of the {who} counts {factor} times in training, once in measurements"
        masks = [site["mask"], *(getattr(part, "_mask", None) for part in chain(site["fn"]))]
        off = [1 - mask.float().mean().item() for mask in masks if isinstance(mask, Tensor) and not bool(mask.all())]
        if off:
            yield f"a mask leaves out {max(off):.0%} of {name!r} of the {who}: missing values, of which none is counted"


def check_modes(ledger: Ledger, programs: Mapping[str, nn.Module]) -> None:
    """Adds a row of the layers that training mode switches on."""
    found = [
        f"{kind} in the {who}"
        for who, program in programs.items()
        for kind in dict.fromkeys(type(m).__name__ for m in program.modules() if isinstance(m, SWITCHED))
    ]
    ledger.add(
        "training mode",
        f"{', '.join(found)}: in training mode while training alone, in evaluation mode wherever a number is measured"
        if found
        else "no layer differs between training and evaluation",
        layers=found,
    )


def _described(site: Site) -> str:
    shape = tuple(site["fn"].event_shape)
    return f"{_family(site)}{f' of shape {shape}' if shape else ''}"


def _family(site: Site) -> str:
    return type(innermost(site["fn"])).__name__
