"""Draws, weights and likelihoods of a pair as ArviZ data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyro
import torch
from torch import Tensor

from ppl_vae.data.files import atomic_write
from ppl_vae.data.inputs import Batch, Field, Inputs, as_batch, concatenate
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.arguments import argument_names
from ppl_vae.programs.handlers import observations, run
from ppl_vae.programs.prepared import prepared
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sampled import in_blocks
from ppl_vae.programs.simulate import equals, simulate
from ppl_vae.programs.sites import guide_sites
from ppl_vae.programs.types import Program, Progress
from ppl_vae.runs.arviz_groups import Arrays, assemble, libraries
from ppl_vae.runs.open import Run
from ppl_vae.training.progress import Reporter, log

if TYPE_CHECKING:
    from arviz import InferenceData

__all__ = ["Exported", "export_arviz", "save", "to_arviz"]


def to_arviz(
    model: Program,
    guide: Program,
    x: object,
    *,
    draws: int = 100,
    predictive: int = 5,
    positions: Tensor | None = None,
    progress: Progress | None = None,
) -> InferenceData:
    r"""Returns draws, pointwise likelihoods, weights, data and predictive data of a pair for ArviZ.

    Groups, with dimensions (chain, draw, datum, ...) and one chain:

    - ``posterior``: draws of each latent from the guide; bits as small integers. Where a latent is masked for a datum
      its draws are the guide's all the same, but have no part in the densities.
    - ``log_likelihood``: :math:`\log p(x_i \mid z_{si})` of the whole datum, named after the observed sites.
    - ``sample_stats``: ``log_weight``, ``log_joint`` and ``log_proposal``; and of each datum ``k_hat``, the Pareto
      shape of its largest weights (minus infinity where they are constant, NaN where it cannot be estimated).
    - ``observed_data``: values of the observed sites; tensors as they are; documents as triplets, the variables
      ``document``, ``word`` and ``count`` of the dimension ``entry``, never dense.
    - ``posterior_predictive``: data drawn given the first ``predictive`` draws; documents as quadruples with ``draw``.
    - ``constant_data``: fields of the data that no site observes, which every draw keeps.

    ``az.loo`` of this object leaves a datum out together with its latents, so the predictive density it estimates is
    the datum's evidence :math:`p(x_i)`, by a smoothed harmonic mean,
    :math:`1 / p(x) = \mathbb{E}_{p(z \mid x)}\, 1 / p(x \mid z)`. That holds for draws of the posterior; draws
    of a guide bias it, and its own k-hat, of other weights, does not show the bias. Take the
    evidence from ``log_weight`` instead (:func:`ppl_vae.evidence.measure.measure`), and ``az.loo`` to see which
    data the model finds surprising given their codes.

    Arguments:
        model: The generative model.
        guide: Its guide.
        x: The data, or a container of fields; worked through in blocks. Draws x data x latents are held at once.
        draws: Number of draws per datum.
        predictive: Number of draws for which data are drawn from the model.
        positions: Positions of the data in a larger set, the coordinates of ``datum``; by default 0, 1, ...
        progress: Called with the number of (draw, datum) cells completed since the last call,
            ``(draws + predictive) * len(x)`` in total.

    Raises:
        ValueError: If there are no data, or fewer than 2 draws, or more predictive draws than draws; if the model
            observes nothing, or, where data are drawn from it, not the data themselves.
    """
    x = as_batch(x)
    if len(x) == 0:
        raise ValueError("there are no data to draw codes for; give at least one datum")
    if draws < 2 or not 0 <= predictive <= draws:
        raise ValueError(
            f"take at least 2 draws per datum, got {draws}, and from 0 to {draws} predictive ones, got {predictive}"
        )
    with prepared(model, guide, x):
        bits = {site.name for site in guide_sites(model, (x[:2],)) if site.kind == "bits"}
        with fork_random_state():
            sites = run(model, (x[:1],), {}, draws=1)
        observed = list(observations(sites))
        if not observed:
            raise ValueError("the model observes nothing; give its observation obs=x")
        taken = {"chain", "draw", "datum", "entry"} & (set(sites) - set(observed))
        if taken:
            raise ValueError(f"site {taken.pop()!r} has the name of a dimension of the file; rename it in the model")
        arrays = Arrays(draws, len(x), bits)
        for place, parts in in_blocks(model, guide, x, draws, progress):
            done = 0
            for terms in parts:
                rows = slice(done, done := done + len(terms.likelihood))
                for name, value in terms.values.items():
                    arrays.put(arrays.values, name, value, rows, place)
                arrays.put(arrays.densities, "log_likelihood", terms.likelihood, rows, place)
                arrays.put(arrays.densities, "log_weight", terms.weight, rows, place)
                arrays.put(arrays.densities, "log_proposal", reduce(add, terms.proposal.values()), rows, place)
                arrays.put(arrays.densities, "log_joint", sum(terms.prior.values()) + terms.likelihood, rows, place)
            arrays.estimate_k_hat(place)
        drawn = []
        for draw in range(predictive):
            codes = {n: torch.from_numpy(v[draw]).to(sites[n]["value"]) for n, v in arrays.values.items()}
            try:
                drawn.append(_observed(model, observed, simulate(model, x, codes)[1]))
            except ValueError as error:
                raise ValueError(f"{error}; or draw no data (--predictive 0, predictive=0)") from error
            if progress:
                progress(len(x))
        inputs = _inputs(model, x) if isinstance(x, Inputs) else {}
        seen = _observed(model, observed, x)
    return assemble(arrays, seen, inputs, drawn, positions)


def _observed(model: Program, names: list[str], x: Batch) -> dict[str, Field]:
    """Values of the observed sites, which may be functions of the data."""
    parts = []
    with evaluating(model), fork_random_state():
        for start in range(0, len(x), 256):
            sites = run(model, (x[start : start + 256],), {}, draws=1)
            parts.append({name: sites[name]["value"] for name in names})
    return {name: concatenate([part[name] for part in parts]) for name in names}  # type: ignore[misc]


def _inputs(model: Program, x: Inputs) -> dict[str, Tensor]:
    """Tensors among the fields of the data that no site observes."""
    with evaluating(model), fork_random_state():
        sites = run(model, (x[:1],), {}, draws=1).values()
    seen = [site["value"] for site in sites if site["is_observed"]]
    few = x[:1].fields(argument_names(model))
    return {
        name: field
        for name, field in x.fields(argument_names(model)).items()
        if isinstance(field, Tensor) and not any(equals(value, few[name]) for value in seen)
    }


def save(data: InferenceData, path: Path | str) -> None:
    """Writes a netCDF file that is, at any moment, the old one or the new one; ``arviz.from_netcdf`` reads it.

    Raises:
        ValueError: If it cannot be written (a full disk, say), naming it; the old one is kept.
    """
    _, xarray = libraries()
    # HDF5 can crash the process on a full disk; bytes in memory cannot.
    tree = xarray.DataTree.from_dict({"/": xarray.Dataset(attrs=data.attrs)} | {n: data[n] for n in data.groups()})
    packed = {f"/{name}": {key: {"zlib": True} for key in data[name].data_vars} for name in data.groups()}
    atomic_write(Path(path), tree.to_netcdf(engine="h5netcdf", encoding=packed))


@dataclass(frozen=True)
class Exported:
    """A file for another program.

    Arguments:
        file: Path of the file.
        data: Number of data.
        draws: Number of draws per datum.
        groups: Variables by group.
    """

    file: Path
    data: int
    draws: int
    groups: dict[str, list[str]]

    def to_json(self) -> dict[str, Any]:
        return {"file": str(self.file), "data": self.data, "draws": self.draws, "groups": self.groups}

    def __str__(self) -> str:
        lines = [f"  {group}: {', '.join(variables)}" for group, variables in self.groups.items()]
        head = f"{self.file}: {self.draws} draws of the guide for each of {self.data} data; read it with"
        return "\n".join([head, f"  arviz.from_netcdf({str(self.file)!r})", "Groups:", *lines])

    __repr__ = __str__


def export_arviz(opened: Run, split: str, draws: int, count: int, predictive: int) -> Exported:
    """Writes draws, weights, likelihoods and data of one split of a run for ArviZ, ``arviz-SPLIT.nc``."""
    x, pair = opened.split(split, count), opened.pair
    path = opened.folder / f"{opened.state.named(f'arviz-{split}')}.nc"
    predictive = min(predictive, draws)
    with (
        Reporter(path.name, len(x) * (draws + predictive)) as reporter,
        fork_random_state(opened.config.settings.seed),
        pyro.validation_enabled(False),
    ):
        result = to_arviz(
            pair.model,
            pair.guide,
            x,
            draws=draws,
            predictive=predictive,
            positions=opened.subsample(split, count),
            progress=reporter.advance,
        )
        log(f"writing {path}")
        opened.run.check_present()
        save(result, path)
    return Exported(
        path, len(x), draws, {name: [str(key) for key in result[name].data_vars] for name in result.groups()}
    )
