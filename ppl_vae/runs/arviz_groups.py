"""Groups of ArviZ data from draws, densities, observations and inputs of a pair."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae import __version__
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Field
from ppl_vae.evidence.importance import from_log_weights
from ppl_vae.evidence.psis import k_hat_limit

if TYPE_CHECKING:
    from arviz import InferenceData
    from xarray import Dataset

__all__ = ["Arrays", "assemble", "libraries"]

NOTES = (
    "The posterior group holds draws of the guide q(z | x), not of the posterior p(z | x). sample_stats.log_weight = "
    "log p(x, z) - log q(z | x) says by how much they differ: weighted by exp(log_weight) the draws are the "
    "posterior's, where k_hat is below its limit. The mean of log_weight over draws is the ELBO of a datum, the log of "
    "the mean of exp(log_weight) its importance-weighted evidence. All densities are in nats, with all constants."
)


class Arrays:
    """Arrays ``(draws, data, *event)`` that are filled block by block."""

    def __init__(self, draws: int, data: int, bits: set[str]) -> None:
        self.shape, self.bits = (draws, data), bits
        self.values: dict[str, Any] = {}
        self.densities: dict[str, Any] = {}
        self.k_hat = np.full(data, np.nan)

    def put(self, arrays: dict[str, Any], name: str, value: Tensor, rows: slice, place: slice) -> None:
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


def assemble(
    arrays: Arrays,
    observed: dict[str, Field],
    inputs: dict[str, Tensor],
    drawn: list[dict[str, Field]],
    positions: Tensor | None,
) -> InferenceData:
    """Returns the groups of :func:`~ppl_vae.runs.export_arviz.to_arviz`.

    Arguments:
        arrays: Draws, densities and k-hat.
        observed: The data by observed site.
        inputs: Fields of the data that no site observes, by name.
        drawn: Data by observed site, from each of several draws.
        positions: Coordinates of the data.
    """
    arviz, xarray = libraries()
    draws, data = arrays.shape
    data_positions = np.arange(data) if positions is None else positions.cpu().numpy()
    coordinates: dict[str, Any] = {"chain": [0], "draw": np.arange(draws), "datum": data_positions}

    def dataset(
        variables_by_name: dict[str, Any], lead: tuple[str, ...] = ("chain", "draw", "datum"), **attributes: object
    ) -> Dataset:
        variables = {
            key: ((*lead, *(f"{key}_dim_{i}" for i in range(value.ndim - len(lead)))), value)
            for key, value in variables_by_name.items()
        }
        used = {key: value for key, value in coordinates.items() if key in lead}
        if "draw" in used and variables_by_name:
            used["draw"] = used["draw"][: next(iter(variables_by_name.values())).shape[1]]
        result: Dataset = xarray.Dataset(variables, used, attributes)
        return result

    statistics = dataset({key: arrays.densities[key][None] for key in ("log_weight", "log_joint", "log_proposal")})
    statistics["k_hat"] = ("datum", arrays.k_hat)
    statistics["k_hat"].attrs["limit"] = k_hat_limit(draws)
    groups = {
        "posterior": dataset({key: value[None] for key, value in arrays.values.items()}, drawn_from="the guide"),
        "log_likelihood": dataset({"+".join(observed): arrays.densities["log_likelihood"][None]}),
        "sample_stats": statistics,
    }
    packed = next((value for value in observed.values() if isinstance(value, PackedCounts)), None)
    tensors = {name: value.cpu().numpy() for name, value in observed.items() if isinstance(value, Tensor)}
    groups["observed_data"] = dataset(tensors, ("datum",))
    if drawn:
        together = {name: np.stack([draw[name].cpu().numpy() for draw in drawn])[None] for name in tensors}  # type: ignore[union-attr]
        groups["posterior_predictive"] = dataset(together)
    if packed is not None:
        size = {"documents": data, "vocabulary": packed.vocabulary}
        entries = dataset(_triplets([packed], data_positions), ("entry",), **size)
        groups["observed_data"] = groups["observed_data"].merge(entries).assign_attrs(size)
        if drawn:
            batches = [next(v for v in draw.values() if isinstance(v, PackedCounts)) for draw in drawn]
            predicted = _triplets(batches, data_positions)
            predicted["draw"] = np.repeat(np.arange(len(drawn)), [len(batch.words) for batch in batches])
            groups["posterior_predictive"] = dataset(predicted, ("entry",), **size)
    if inputs:
        groups["constant_data"] = dataset({name: value.cpu().numpy() for name, value in inputs.items()}, ("datum",))
    attributes = {"inference_library": "ppl-vae", "inference_library_version": __version__, "notes": NOTES}
    result: InferenceData = arviz.InferenceData(attrs=attributes, **groups)
    return result


def _triplets(batches: list[PackedCounts], data_positions: NDArray[np.int64]) -> dict[str, Any]:
    parts = {
        "document": [data_positions[b.documents.cpu().numpy()] for b in batches],
        "word": [b.words.cpu().numpy() for b in batches],
        "count": [b.counts.cpu().numpy().astype(np.int32) for b in batches],
    }
    return {key: np.concatenate(values) for key, values in parts.items()}


def libraries() -> tuple[Any, Any]:
    """ArviZ and xarray."""
    with warnings.catch_warnings():
        # On import ArviZ announces its next version, which does not concern the user of a command.
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
        import xarray
    return arviz, xarray
