"""Runs taken up again after training, to be measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import torch

from ppl_vae.batches import PackedCounts
from ppl_vae.corpora import Corpus
from ppl_vae.diagnostics import Gap, split_gap
from ppl_vae.evidence import Measurement, cells, measure
from ppl_vae.evidence.measuring import Method
from ppl_vae.progress import Reporter, say
from ppl_vae.randomness import kept_random_state
from ppl_vae.runs import Checkpoint, Run
from ppl_vae.workflow import Pair, load_data

__all__ = ["Opened", "measure_evidence", "measure_gap", "open_run"]


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

    def data(self, split: str) -> Any:
        """One split, or a ValueError that names those there are."""
        if split not in self.splits:
            raise ValueError(f"{self.run.folder} has no {split} data; choose from {', '.join(self.splits)}")
        return self.splits[split]


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
    finished = (folder / "summary.json").exists()
    if not finished:
        say("note: the run is not finished; its best state so far is measured")
    device = torch.device(config["device"])
    splits = {name: getattr(corpus, name).to(device) for name in ("train", "validation", "test")}
    name = "train-best"
    if finished and run.checkpoint("retrain-best").exists():
        name, everything = "retrain-best", PackedCounts.concatenate([splits["train"], splits.pop("validation")])
        splits["train"] = everything
    if not run.checkpoint(name).exists():
        raise ValueError(f"{folder} has no trained state yet; finish it with ppl-vae train --resume {folder}")
    pair = Pair.build(config, splits["train"])
    Checkpoint.into(run.checkpoint(name), pair.model, pair.guide)
    return Opened(run, pair, {name: x for name, x in splits.items() if len(x)}, corpus)


def measure_gap(folder: Path, split: str) -> Gap:
    """Splits the gap of one split of a run, and keeps table, pointwise values and figure in its folder.

    Raises:
        ValueError: If the run has no such data, or its gap cannot be split.
    """
    opened = open_run(folder)
    x = opened.data(split)
    with Reporter("gap", len(x)) as reporter, pyro.validation_enabled(False):
        found = split_gap(opened.pair.model, opened.pair.guide, x, progress=reporter.advance)
    opened.run.write_json(f"gap-{split}.json", found.to_json())
    values = {name.replace(" ", "_"): estimate.pointwise for name, estimate in found.rows().items()}
    Checkpoint(values, {"split": split}).write(opened.run.folder / f"gap-{split}.safetensors")
    opened.run.figure(f"gap-{split}", lambda figure: found.draw(figure, f"{opened.pair.words}: {split}"), (9, 3.8))
    titles = getattr(opened.corpus, f"{split}_titles")
    if titles and not (split == "train" and "validation" not in opened.splits):
        gaps = found.evidence.pointwise - found.elbo.pointwise
        worst = ", ".join(f"{titles[i]} ({gaps[i].item():.2f})" for i in found.worst(3))
        say(f"widest gaps: {worst}")
    return found


def measure_evidence(folder: Path, split: str, method: Method, draws: int) -> Measurement:
    """Measures one split of a run afresh, and keeps result and pointwise values in its folder.

    Raises:
        ValueError: If the run has no such data, or the method does not serve it.
    """
    opened = open_run(folder)
    x, pair = opened.data(split), opened.pair
    total = len(x) * draws if method == "importance" else cells(pair.model, x, draws)
    seed = opened.run.config["settings"]["seed"]
    with Reporter("evidence", total) as reporter, kept_random_state(seed), pyro.validation_enabled(False):
        found = measure(pair.model, pair.guide, x, draws=draws, method=method, progress=reporter.advance)
    opened.run.write_json(f"evidence-{split}-{method}.json", found.to_json())
    kept = Checkpoint(found.pointwise(), {"split": split, "method": method, "draws": draws})
    kept.write(opened.run.folder / f"evidence-{split}-{method}.safetensors")
    for line in found.evidence.warnings:
        say(f"note: {line}")
    return found
