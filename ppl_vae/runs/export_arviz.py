"""Draws, weights and likelihoods of a pair as ArviZ data."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae import __version__
from ppl_vae.data.counts import Batch, PackedCounts
from ppl_vae.evidence.importance import from_log_weights
from ppl_vae.evidence.psis import k_hat_limit
from ppl_vae.nn.checkpoint import atomic_write
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.blocks import in_blocks
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.simulate import simulate
from ppl_vae.programs.sites import guide_sites
from ppl_vae.programs.types import Program, Progress

if TYPE_CHECKING:
    from arviz import InferenceData
from dataclasses import dataclass

import pyro

from ppl_vae.runs.open import Run
from ppl_vae.training.progress import Reporter, log

__all__ = ["Exported", "export_arviz", "save", "to_arviz"]

NOTES = (
    "The posterior group holds draws of the guide q(z | x), not of the posterior p(z | x). sample_stats.log_weight = "
    "log p(x, z) - log q(z | x) says by how much they differ: weighted by exp(log_weight) the draws are the "
    "posterior's, where k_hat is below its limit. The mean of log_weight over draws is the ELBO of a datum, the log of "
    "the mean of exp(log_weight) its importance-weighted evidence. All densities are in nats, with all constants."
)


def to_arviz(
    model: Program,
    guide: Program,
    x: Batch,
    *,
    draws: int = 100,
    predictive: int = 5,
    positions: Tensor | None = None,
    progress: Progress | None = None,
) -> InferenceData:
    r"""Returns draws, pointwise likelihoods, weights, data and predictive data of a pair for ArviZ.

    Groups, with dimensions (chain, draw, datum, ...) and one chain:

    - ``posterior``: draws of each latent from the guide; bits as small integers.
    - ``log_likelihood``: :math:`\log p(x_i \mid z_{si})` of the whole datum.
    - ``sample_stats``: ``log_weight``, ``log_joint`` and ``log_proposal``; and of each datum ``k_hat``, the Pareto
      shape of its largest weights (minus infinity where they are constant, NaN where it cannot be estimated).
    - ``observed_data``: tensors as they are; documents as triplets, the variables ``document``, ``word`` and ``count``
      of the dimension ``entry``, never dense.
    - ``posterior_predictive``: data drawn given the first ``predictive`` draws; documents as quadruples with ``draw``.

    ``az.loo`` of this object leaves a datum out together with its latents, so the predictive density it estimates is
    the datum's evidence :math:`p(x_i)`, by a smoothed harmonic mean,
    :math:`1 / p(x) = \mathbb{E}_{p(z \mid x)}\, 1 / p(x \mid z)`. That holds for draws of the posterior; draws
    of a guide bias it, and its own k-hat, of other weights, does not show the bias. Take the
    evidence from ``log_weight`` instead (:func:`ppl_vae.evidence.measure.measure`), and ``az.loo`` to see which
    data the model finds surprising given their codes.

    Arguments:
        model: The generative model, with one observed site.
        guide: Its guide.
        x: The data; worked through in blocks. Draws x data x latents are held at once.
        draws: Number of draws per datum.
        predictive: Number of draws for which data are drawn from the model.
        positions: Positions of the data in a larger set, the coordinates of ``datum``; by default 0, 1, ...
        progress: Called with the number of (draw, datum) cells completed since the last call,
            ``(draws + predictive) * len(x)`` in total.

    Raises:
        ValueError: If there are no data, or fewer than 2 draws, or more predictive draws than draws, or the model has
            no observed site or several.
    """
    if len(x) == 0:
        raise ValueError("there are no data to draw codes for; give at least one datum")
    if draws < 2 or not 0 <= predictive <= draws:
        raise ValueError(
            f"take at least 2 draws per datum, got {draws}, and from 0 to {draws} predictive ones, got {predictive}"
        )
    with evaluating(model, guide):
        bits = {site.name for site in guide_sites(model, (x[:2],)) if site.kind == "bits"}
        with fork_random_state():
            sites = run(model, (x[:1],), {}, draws=1)
        observed = [name for name in sites if name not in latents(sites)]
        if len(observed) != 1:
            raise ValueError(f"a model with one observed site can be exported, but this one has {observed}")
        taken = {"chain", "draw", "datum", "entry"} & (set(sites) - set(observed))
        if taken:
            raise ValueError(f"site {taken.pop()!r} has the name of a dimension of the file; rename it in the model")
        arrays = _Arrays(draws, len(x), bits)
        for place, parts in in_blocks(model, guide, x, draws, progress):
            done = 0
            for terms in parts:
                rows = slice(done, done := done + len(terms.likelihood))
                for name, value in terms.values.items():
                    arrays.put(arrays.values, name, value, rows, place)
                arrays.put(arrays.densities, "log_likelihood", terms.likelihood, rows, place)
                arrays.put(arrays.densities, "log_weight", terms.weight, rows, place)
                arrays.put(arrays.densities, "log_proposal", sum(terms.proposal.values()), rows, place)
                arrays.put(arrays.densities, "log_joint", sum(terms.prior.values()) + terms.likelihood, rows, place)
            arrays.estimate_k_hat(place)
        drawn = []
        for draw in range(predictive):
            codes = {n: torch.from_numpy(v[draw]).to(sites[n]["value"]) for n, v in arrays.values.items()}
            drawn.append(simulate(model, x, codes)[1])
            if progress:
                progress(len(x))
    observations = x if isinstance(x, PackedCounts) else _observed(model, observed[0], x)
    return _assemble(arrays, observed[0], observations, drawn, positions)


def _observed(model: Program, name: str, x: Batch) -> Tensor:
    """Values of the observed site, which may be a function of the data."""
    parts = []
    with evaluating(model), fork_random_state():
        for start in range(0, len(x), 256):
            parts.append(run(model, (x[start : start + 256],), {}, draws=1)[name]["value"])
    return torch.cat(parts)


class _Arrays:
    """Arrays ``(draws, data, *event)`` that are filled block by block."""

    def __init__(self, draws: int, data: int, bits: set[str]) -> None:
        self.shape, self.bits = (draws, data), bits
        self.values: dict[str, Any] = {}
        self.densities: dict[str, Any] = {}
        self.k_hat = np.full(data, np.nan)

    def put(self, arrays: dict[str, Any], name: str, value: Any, rows: slice, place: slice) -> None:
        result = value.cpu().numpy()
        if name not in arrays:
            kind = np.int8 if name in self.bits and arrays is self.values else result.dtype
            arrays[name] = np.empty((*self.shape, *result.shape[2:]), np.float64 if arrays is self.densities else kind)
        arrays[name][rows, place] = result

    def estimate_k_hat(self, place: slice) -> None:
        differ = [(v[:, place] != v[:1, place]).reshape(*v[:, place].shape[:2], -1) for v in self.values.values()]
        distinct = torch.from_numpy(np.any([d.any((0, 2)) for d in differ], axis=0))
        shape = from_log_weights(torch.from_numpy(self.densities["log_weight"][:, place]), distinct).evidence.k_hat
        assert shape is not None
        self.k_hat[place] = shape.numpy()


def _assemble(arrays: _Arrays, name: str, x: Batch, drawn: list[Any], positions: Tensor | None) -> InferenceData:
    arviz, xarray = _libraries()
    draws, data = arrays.shape
    data_positions = np.arange(data) if positions is None else positions.cpu().numpy()
    coordinates: dict[str, Any] = {"chain": [0], "draw": np.arange(draws), "datum": data_positions}

    def dataset(
        variables_by_name: dict[str, Any], lead: tuple[str, ...] = ("chain", "draw", "datum"), **attributes: Any
    ) -> Any:
        variables = {
            key: ((*lead, *(f"{key}_dim_{i}" for i in range(value.ndim - len(lead)))), value)
            for key, value in variables_by_name.items()
        }
        used = {key: value for key, value in coordinates.items() if key in lead}
        if "draw" in used and variables_by_name:
            used["draw"] = used["draw"][: next(iter(variables_by_name.values())).shape[1]]
        return xarray.Dataset(variables, used, attributes)

    statistics = dataset({key: arrays.densities[key][None] for key in ("log_weight", "log_joint", "log_proposal")})
    statistics["k_hat"] = ("datum", arrays.k_hat)
    statistics["k_hat"].attrs["limit"] = k_hat_limit(draws)
    groups = {
        "posterior": dataset({key: value[None] for key, value in arrays.values.items()}, drawn_from="the guide"),
        "log_likelihood": dataset({name: arrays.densities["log_likelihood"][None]}),
        "sample_stats": statistics,
    }
    if isinstance(x, PackedCounts):
        size = {"documents": data, "vocabulary": x.vocabulary}
        groups["observed_data"] = dataset(_triplets([x], data_positions), ("entry",), **size)
        if drawn:
            predicted = _triplets(drawn, data_positions)
            predicted["draw"] = np.repeat(np.arange(len(drawn)), [len(d.words) for d in drawn])
            groups["posterior_predictive"] = dataset(predicted, ("entry",), **size)
    else:
        groups["observed_data"] = dataset({name: x.cpu().numpy()}, ("datum",))
        if drawn:
            together = np.stack([d.cpu().numpy() for d in drawn])[None]
            groups["posterior_predictive"] = dataset({name: together})
    attributes = {"inference_library": "ppl-vae", "inference_library_version": __version__, "notes": NOTES}
    result: InferenceData = arviz.InferenceData(attrs=attributes, **groups)
    return result


def _triplets(batches: list[PackedCounts], data_positions: Any) -> dict[str, Any]:
    parts = {
        "document": [data_positions[b.documents.cpu().numpy()] for b in batches],
        "word": [b.words.cpu().numpy() for b in batches],
        "count": [b.counts.cpu().numpy().astype(np.int32) for b in batches],
    }
    return {key: np.concatenate(values) for key, values in parts.items()}


def _libraries() -> tuple[Any, Any]:
    with warnings.catch_warnings():
        # On import ArviZ announces its next version, which does not concern the user of a command.
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
        import xarray
    return arviz, xarray


def save(data: InferenceData, path: Path | str) -> None:
    """Writes a netCDF file that is, at any moment, the old one or the new one; ``arviz.from_netcdf`` reads it.

    Raises:
        ValueError: If it cannot be written (a full disk, say), naming it; the old one is kept.
    """
    _, xarray = _libraries()
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


def export_arviz(opened: Run, split: str, draws: int, count: int, predictive: int) -> Exported:
    """Writes draws, weights, likelihoods and data of one split of a run for ArviZ, ``arviz-SPLIT.nc``."""
    x, pair, path = opened.split(split, count), opened.pair, opened.folder / f"arviz-{split}.nc"
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
        save(result, path)
    return Exported(
        path, len(x), draws, {name: [str(key) for key in result[name].data_vars] for name in result.groups()}
    )
