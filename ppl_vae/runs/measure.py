"""Measurements of trained runs, stored in their folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pyro
import torch

from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.calibration.calibrate import calibrate
from ppl_vae.diagnostics.calibration.result import Calibration
from ppl_vae.diagnostics.information.curve import Curve
from ppl_vae.diagnostics.information.information import Information, information, steps
from ppl_vae.diagnostics.information.rate_distortion_curve import curve_cells, rate_distortion_curve
from ppl_vae.diagnostics.tightness.tightness import tightness
from ppl_vae.diagnostics.tightness.verdict import Tightness
from ppl_vae.evidence.ais import Schedule
from ppl_vae.evidence.bdmc import BDMC, sandwich, sandwich_cells
from ppl_vae.evidence.results import Result
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Progress
from ppl_vae.runs.engines.base import Engine
from ppl_vae.runs.open import Run
from ppl_vae.runs.pair import Pair
from ppl_vae.runs.resumable import BlockStore
from ppl_vae.runs.shards import compute_blocks
from ppl_vae.training.lock import locked
from ppl_vae.training.progress import Reporter, log
from ppl_vae.training.run_folder import RunFolder, json_bytes, seal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "measure_calibration",
    "measure_curve",
    "measure_information",
    "measure_sandwich",
    "measure_tightness",
    "measure_and_save",
    "measure_in_blocks",
]


class Measurement(Protocol):
    """The result of a measurement: a table by ``str``, numbers for JSON, values per datum, and a figure."""

    @property
    def size(self) -> tuple[float, float]: ...

    def to_json(self) -> dict[str, Any]: ...

    def pointwise(self) -> dict[str, torch.Tensor]: ...

    def draw(self, figure: Figure, title: str) -> None: ...


R = TypeVar("R", bound=Measurement)
B = TypeVar("B", bound=Result)


def measure_and_save(
    opened: Run,
    name: str,
    split: str,
    count: int,
    compute: Callable[[Pair, Batch, Progress], R],
    total: Callable[[Pair, Batch], int] = lambda pair, x: len(x),
    digests: Mapping[str, str] | None = None,
    blocks: BlockStore[Any] | None = None,
) -> R:
    """Measures one split of a run and writes JSON, values per datum and a figure into its folder.

    Arguments:
        opened: The run.
        name: Name of the files and of the progress bar.
        split: Name of the split.
        count: Size of a random sample of the data; 0 for all.
        compute: Function from the pair, the data and a progress callback to the result.
        total: Function from the pair and the data to the number of steps that the progress counts.
        digests: Of the user's own files that measure, which are stored with the result.
        blocks: What is stored of it while it is incomplete, and deleted then.

    Raises:
        ValueError: If the run has no such split, or it cannot be measured this way.
    """
    x, pair = opened.split(split, count), opened.pair
    seed = opened.config.settings.seed
    with (
        Reporter(name, partial(total, pair, x)) as reporter,
        fork_random_state(seed),
        pyro.validation_enabled(False),
    ):
        result = compute(pair, x, reporter.advance)
    rows = opened.subsample(split, count)
    if isinstance(result, Result):
        result = result.of_sample(rows, len(opened.data[split]))
    content, name = json_bytes(result.to_json()), opened.state.named(name)
    tensors = result.pointwise() | ({} if rows is None else {"rows": rows})
    state = {"split": split, "of": opened.state.key, "digests": dict(digests or {}), "json": seal(content)}
    if blocks is not None:
        state["blocks"] = blocks.blocks.name
    # Two measurements of one kind, by other options perhaps, leave files of one of them. It is stored once the values
    # belong to the JSON: they come last, so that a kill leaves no stored one without its figure.
    with locked(opened.folder, f"writes {name} there", wait=True, name=f".{name}.lock"):
        opened.run.write(f"{name}.json", content)
        save_figure(opened.run, name, result, f"{pair.description}: {split}")
        opened.run.write_tensors(name, Checkpoint(tensors, state))
        if blocks is not None:
            blocks.delete()
    return result


def save_figure(run: RunFolder, name: str, result: Measurement, title: str) -> None:
    """Draws a result into the folder of a run, unless some of its values are not finite."""
    beside = ("k_hat", "_upper", "_upper_se", "_lower", "_lower_se")
    values = (value for key, value in result.pointwise().items() if not key.endswith(beside))
    if all(value.isfinite().all() for value in values):
        run.figure(name, lambda figure: result.draw(figure, title), result.size)
    else:
        log("note: no figure is drawn, since some of the results are not finite")


def measure_tightness(opened: Run, split: str, draws: int | None, count: int) -> Tightness:
    """Tests whether the posterior of one split of a run lies in the guide's family; names the worst data."""
    result = measure_and_save(
        opened,
        f"tightness-{split}",
        split,
        count,
        lambda pair, x, progress: tightness(pair.model, pair.guide, x, draws=draws, progress=progress),
    )
    if result.status == "outside":
        residuals = result.affine["guide"].residual.sqrt()
        opened.name_worst("furthest from affine, nats", split, count, result.worst(3), residuals)
    return result


def measure_calibration(opened: Run, split: str, count: int, simulated: int, draws: int) -> Calibration:
    """Tests the calibration of a run's guide on data simulated in the shape of one split."""
    options = {"simulated": simulated, "draws": draws}
    return measure_and_save(
        opened,
        f"calibration-{split}",
        split,
        count,
        lambda pair, x, progress: calibrate(pair.model, pair.guide, x, progress=progress, **options),
        lambda pair, x: simulated * draws,
    )


def measure_sandwich(opened: Run, split: str, draws: int, count: int, schedule: Schedule) -> BDMC:
    """Bounds the evidence of data simulated from a run's model, with the shapes of one split, from below and above."""
    options: dict[str, Any] = {"draws": draws, "schedule": schedule}
    return measure_in_blocks(
        opened,
        f"sandwich-{split}",
        split,
        count,
        options | {"schedule": asdict(schedule)},
        BDMC,
        lambda pair, x, done, progress: sandwich(pair.model, pair.guide, x, done=done, progress=progress, **options),
        lambda pair, x: sandwich_cells(x, draws, schedule),
    )


def measure_curve(opened: Run, split: str, count: int, **options: Any) -> Curve:  # those of rate_distortion_curve
    """Measures the rate-distortion curve of a run's decoder on one split, and the excess of its guide."""
    curve_options = {name: value for name, value in options.items() if name != "draws"}
    return measure_and_save(
        opened,
        f"curve-{split}",
        split,
        count,
        lambda pair, x, progress: rate_distortion_curve(pair.model, pair.guide, x, **options, progress=progress),
        lambda pair, x: curve_cells(pair.model, x, **curve_options),
    )


def measure_in_blocks(
    opened: Run,
    name: str,
    split: str,
    count: int,
    settings: dict[str, Any],
    kind: type[B],
    compute: Callable[[Pair, Batch, MutableMapping[int, B], Progress], B],
    total: Callable[[Pair, Batch], int] = lambda pair, x: len(x),
    digests: Mapping[str, str] | None = None,
    engine: Engine | None = None,
    starts: Callable[[Pair, Batch], Sequence[int]] = lambda pair, x: (),
) -> B:
    """As :func:`measure_and_save`, but stores finished blocks until the measurement is complete.

    Arguments:
        settings: All that the result depends on besides the data and the state of the pair, as JSON holds it.
        kind: Class of the result.
        compute: Function from the pair, the data, the finished blocks and a progress callback to the result.
        engine: What computes the blocks, if not this process.
        starts: Function from the pair and the data to the positions of the first data of the blocks.
    """
    identity = settings | {"count": count, "state": opened.state.key, "digests": dict(digests or {})}

    def store(run: Run) -> BlockStore[B]:
        return BlockStore(run.folder / "partial" / run.state.named(name), identity, kind, run.run.check_present)

    blocks = store(opened)
    if len(blocks):
        log(f"resuming {name}: {len(blocks)} blocks are measured already")
    try:
        if engine is not None and not engine.alone:
            with fork_random_state(opened.config.settings.seed):
                missing = [at for at in starts(opened.pair, opened.split(split, count)) if at not in blocks]
            compute_blocks(opened, engine, name, split, count, missing, compute, store)
        return measure_and_save(
            opened,
            name,
            split,
            count,
            lambda pair, x, progress: compute(pair, x, blocks, progress),
            total,
            digests,
            blocks,
        )
    except KeyboardInterrupt:
        if len(blocks):
            log(f"{len(blocks)} measured blocks are stored; the same command continues")
        raise


def measure_information(opened: Run, split: str, draws: int, codes: int, count: int) -> Information:
    """Measures rate, distortion and mutual information of a run on one split, and its collapsed units."""
    result = measure_and_save(
        opened,
        f"information-{split}",
        split,
        count,
        lambda pair, x, progress: information(pair.model, pair.guide, x, draws=draws, codes=codes, progress=progress),
        lambda pair, x: steps(pair.model, pair.guide, x, draws=draws, codes=codes),
    )
    if split != "test":
        log(
            "note: the pair may have been trained on these data, and the entropy of the population may be above the "
            "bound; take --split test"
        )
    return result
