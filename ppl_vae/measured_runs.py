"""Runs taken up again after training, to be measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import pyro
import torch

from ppl_vae.batches import PackedCounts
from ppl_vae.corpora import Corpus
from ppl_vae.diagnostics import Information, Tightness, information, tightness
from ppl_vae.diagnostics.information import steps
from ppl_vae.evidence import Measurement, Method, Sandwich, Schedule, measure, plan, sandwich
from ppl_vae.evidence.bidirectional import sandwich_cells
from ppl_vae.partial import Kept
from ppl_vae.progress import Reporter, say
from ppl_vae.randomness import kept_random_state
from ppl_vae.runs import Checkpoint, Run
from ppl_vae.workflow import Pair, load_data

__all__ = [
    "Exported",
    "Opened",
    "best_state",
    "export_arviz",
    "measure_evidence",
    "measure_information",
    "measure_sandwich",
    "measure_tightness",
    "measured",
    "open_run",
]


class Result(Protocol):
    """What a measurement gives: a table by ``str``, numbers for JSON, values a datum."""

    def to_json(self) -> dict[str, Any]: ...

    def pointwise(self) -> dict[str, torch.Tensor]: ...


@runtime_checkable
class Drawn(Protocol):
    """A result with a figure."""

    def draw(self, figure: Any, title: str) -> None: ...


R = TypeVar("R", bound=Result)


@dataclass
class Opened:
    """A run, ready to be measured.

    Arguments:
        run: Its folder.
        pair: With the parameters of the best state.
        splits: The data by name; after retraining, ``train`` holds the validation data too.
        corpus: Where they come from.
    """

    run: Run
    pair: Pair
    splits: dict[str, Any]
    corpus: Corpus

    def data(self, split: str, count: int = 0) -> Any:
        """One split, or a random sample of it; a ValueError names the splits there are."""
        if split not in self.splits:
            raise ValueError(f"{self.run.folder} has no {split} data; choose from {', '.join(self.splits)}")
        rows = self.chosen(split, count)
        return self.splits[split] if rows is None else self.splits[split][rows.to(self.splits[split].device)]

    def chosen(self, split: str, count: int) -> torch.Tensor | None:
        """Positions of a random sample of a split, the same every time, in ascending order; None is all of it."""
        whole = len(self.splits[split])
        if not 0 < count < whole:
            return None
        return torch.randperm(whole, generator=torch.Generator().manual_seed(count))[:count].sort().values

    def name_worst(self, what: str, split: str, count: int, worst: list[int], values: torch.Tensor) -> None:
        """Says which data are worst, by title where the corpus has titles."""
        titles = getattr(self.corpus, f"{split}_titles")
        if split == "train" and "validation" not in self.splits:
            titles = None  # retraining has put other data behind them
        rows = self.chosen(split, count)
        found = []
        for i in worst:
            row = i if rows is None else int(rows[i])
            found.append(f"{titles[row] if titles else f'datum {row}'} ({values[i].item():.2f})")
        say(f"{what}: {', '.join(found)}")


def best_state(run: Run) -> tuple[str, str]:
    """The checkpoint that a run is measured by: its name, and the digest by which measurements of it are known.

    Raises:
        ValueError: If there is none yet.
    """
    again = run.summary is not None and run.checkpoint("retrain-best").exists()
    name = "retrain-best" if again else "train-best"
    if not run.checkpoint(name).exists():
        raise ValueError(f"{run.folder} has no trained state yet; finish it with ppl-vae train --resume {run.folder}")
    with open(run.checkpoint(name), "rb") as file:
        return name, hashlib.file_digest(file, "sha256").hexdigest()


def open_run(folder: Path) -> Opened:
    """The pair of a run in its best state, and the data it was trained on.

    Raises:
        ValueError: If the folder is no run, has no checkpoint yet, or its data or files have changed.
    """
    run = Run.open(folder)
    config = run.config
    corpus = load_data(config)
    if config["device"] != "cpu" and not getattr(torch, config["device"]).is_available():
        say(f"note: this machine has no {config['device']}, on which the run was trained: measuring on the cpu")
        config["device"] = "cpu"
    if run.summary is None:
        say("note: the run is not finished; its best state so far is measured")
    device = torch.device(config["device"])
    splits = {name: getattr(corpus, name).to(device) for name in ("train", "validation", "test")}
    name, _ = best_state(run)
    if name == "retrain-best":
        splits["train"] = PackedCounts.concatenate([splits["train"], splits.pop("validation")])
    pair = Pair.build(config, splits["train"])
    pair.state = Checkpoint.into(run.checkpoint(name), pair.model, pair.guide).digest
    return Opened(run, pair, {name: x for name, x in splits.items() if len(x)}, corpus)


def measured(
    where: Path | Opened,
    name: str,
    split: str,
    count: int,
    compute: Callable[[Pair, Any, Callable[[int], None]], R],
    total: Callable[[Pair, Any], int] = lambda pair, x: len(x),
) -> tuple[Opened, R]:
    """Measures one split of a run and keeps table, pointwise values and figure in its folder.

    Arguments:
        where: The folder of the run, or the run opened.
        name: Of the files, and of the bar while it lasts.
        split: Of the data.
        count: Measure a random sample of so many data; 0 for all.
        compute: From the pair, the data and a progress to the result.
        total: How many steps the progress will be told of.

    Raises:
        ValueError: If the run has no such data, or they cannot be measured so.
    """
    opened = where if isinstance(where, Opened) else open_run(where)
    x, pair = opened.data(split, count), opened.pair
    seed = opened.run.config["settings"]["seed"]
    with (
        Reporter(name, total(pair, x)) as reporter,
        kept_random_state(seed),
        pyro.validation_enabled(False),
    ):
        found = compute(pair, x, reporter.advance)
    opened.run.write_json(f"{name}.json", found.to_json())
    rows = opened.chosen(split, count)
    kept = found.pointwise() | ({} if rows is None else {"rows": rows})
    Checkpoint(kept, {"split": split, "of": best_state(opened.run)[1]}).write(opened.run.folder / f"{name}.safetensors")
    drawn = [value for key, value in found.pointwise().items() if key not in ("k_hat", "rows")]
    if isinstance(found, Drawn) and all(value.isfinite().all() for value in drawn):
        opened.run.figure(name, lambda figure: found.draw(figure, f"{pair.words}: {split}"), (9, 3.8))
    elif isinstance(found, Drawn):
        say("note: no figure is drawn, since some of the results are not finite")
    return opened, found


def measure_tightness(folder: Path, split: str, draws: int | None = None, count: int = 0) -> Tightness:
    """Tests whether the posterior of one split of a run lies in the guide's family; names the worst data."""
    opened, found = measured(
        folder,
        f"tightness-{split}",
        split,
        count,
        lambda pair, x, tick: tightness(pair.model, pair.guide, x, draws=draws, progress=tick),
    )
    if found.status == "outside":
        left = found.affine["guide"].residual.sqrt()
        opened.name_worst("furthest from affine, nats", split, count, found.worst(3), left)
    return found


def measure_evidence(
    folder: Path, split: str, method: Method, draws: int, count: int = 0, schedule: Schedule | None = None
) -> Measurement:
    """Measures bound, evidence and gap of one split of a run afresh; what an interruption left is taken up."""
    how: dict[str, Any] = {"method": method, "draws": draws, "schedule": schedule}
    opened, found = _resumable(
        folder,
        f"evidence-{split}-{method}",
        split,
        count,
        how,
        Measurement,
        lambda pair, x, **kept: measure(pair.model, pair.guide, x, **how, **kept),
        lambda pair, x: plan(pair.model, x, **how).cells,
    )
    for line in found.evidence.warnings:
        say(f"note: {line}")
    opened.name_worst("widest gaps", split, count, found.worst(3), found.gap.pointwise)
    return found


def measure_sandwich(folder: Path, split: str, draws: int, count: int, schedule: Schedule) -> Sandwich:
    """Evidence from below and above of data drawn from a run's model, like those of one split in shape."""
    how: dict[str, Any] = {"draws": draws, "schedule": schedule}
    _, found = _resumable(
        folder,
        f"sandwich-{split}",
        split,
        count,
        how,
        Sandwich,
        lambda pair, x, **kept: sandwich(pair.model, pair.guide, x, **how, **kept),
        lambda pair, x: sandwich_cells(x, draws, schedule),
    )
    return found


def _resumable(
    folder: Path,
    name: str,
    split: str,
    count: int,
    how: dict[str, Any],
    kind: Any,
    compute: Callable[..., R],
    total: Callable[[Pair, Any], int],
) -> tuple[Opened, R]:
    """As :func:`measured`, with blocks kept as they are done, until all are."""
    kept: list[Kept[Any]] = []

    def keeping(pair: Pair, x: Any, tick: Callable[[int], None]) -> R:
        depends = how | {"schedule": asdict(how["schedule"] or Schedule()), "count": count, "state": pair.state}
        kept.append(Kept(folder / "partial" / name, depends, kind))
        if len(kept[0]):
            say(f"taking up {name}: {len(kept[0])} blocks are measured already")
        return compute(pair, x, done=kept[0], progress=tick)

    try:
        opened, found = measured(folder, name, split, count, keeping, total)
    except KeyboardInterrupt:
        if kept and len(kept[0]):
            say(f"{len(kept[0])} measured blocks are kept; the same command goes on from there")
        raise
    kept[0].forget()
    return opened, found


def measure_information(folder: Path, split: str, draws: int, codes: int, count: int = 0) -> Information:
    """Measures what the code of a run knows of one split, and which of its units have collapsed."""
    _, found = measured(
        folder,
        f"information-{split}",
        split,
        count,
        lambda pair, x, tick: information(pair.model, pair.guide, x, draws=draws, codes=codes, progress=tick),
        lambda pair, x: steps(pair.model, pair.guide, x, draws=draws, codes=codes),
    )
    for line in found.warnings:
        say(f"note: {line}")
    return found


@dataclass(frozen=True)
class Exported:
    """A file for another program.

    Arguments:
        file: Its path.
        data: How many.
        draws: A datum.
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


def export_arviz(folder: Path, split: str, draws: int, count: int = 0, predictive: int = 5) -> Exported:
    """Writes draws, weights, likelihoods and data of one split of a run for ArviZ, ``arviz-SPLIT.nc``."""
    from ppl_vae.arviz_data import save, to_arviz

    opened = open_run(folder)
    x, pair, path = opened.data(split, count), opened.pair, folder / f"arviz-{split}.nc"
    predictive = min(predictive, draws)
    with (
        Reporter(path.name, len(x) * (draws + predictive)) as reporter,
        kept_random_state(opened.run.config["settings"]["seed"]),
        pyro.validation_enabled(False),
    ):
        found = to_arviz(
            pair.model,
            pair.guide,
            x,
            draws=draws,
            predictive=predictive,
            positions=opened.chosen(split, count),
            progress=reporter.advance,
        )
        say(f"writing {path}")
        save(found, path)
    return Exported(path, len(x), draws, {name: [str(key) for key in found[name].data_vars] for name in found.groups()})
