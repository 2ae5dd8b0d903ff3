"""Files of a run: configuration, metrics, checkpoints, summary and measurements."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.siege.case import Case, Form
from benchmarks.siege.sources import Invalid, pick
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.nn.observation_noise import read_trace
from ppl_vae.runs.config import RunConfig, to_json
from ppl_vae.runs.options import run_config
from ppl_vae.runs.split import Split
from ppl_vae.runs.state import RunState
from ppl_vae.runs.stored import evidence_of, read_stored
from ppl_vae.runs.summary import Summary
from ppl_vae.training.run_folder import RunFolder, json_bytes, versions

CONFIG = "config.json"

TRAIN_BEST = "checkpoints/train-best.safetensors"


def plain(content: bytes) -> Any:
    """A JSON document with each name once, whose numbers are doubles."""

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise Invalid("a name twice")
        return dict(pairs)

    return as_floats(json.loads(content.decode(), object_pairs_hook=distinct))


def as_floats(value: Any) -> Any:
    """The same with every number as a double."""
    if isinstance(value, dict):
        return {name: as_floats(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_floats(part) for part in value]
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    return float(value) if abs(value) < 2**1000 else value


@cache
def configs() -> list[bytes]:
    """Configurations of a few trainings."""
    chosen = (
        run_config("gmm", "full", epochs=3, beta=2, device="cpu"),
        run_config("text", "linear_counts", bits=3, vocabulary=30, corpus="docstrings", retrain=True, device="cpu"),
        run_config("ppca", "mean_field", epochs="10x1,5x10", device="cpu", clip=5.0),
    )
    return [json_bytes(to_json(config) | {"versions": versions()}) for config in chosen]


def make_config(rng: np.random.Generator) -> Case:
    return Case({CONFIG: pick(rng, configs())})


def read_config(path: Path) -> object:
    return as_floats(to_json(RunConfig.of(RunFolder.open(path))))


def rows(rng: np.random.Generator) -> list[dict[str, object]]:
    """Metrics of some epochs."""
    metrics: list[dict[str, object]] = [
        {"epoch": epoch, "train_elbo": -float(rng.random()), "sigma": float(rng.random()), "seconds": None}
        for epoch in range(1, int(rng.integers(2, 9)))
    ]
    metrics[0]["sigma_start"] = 1.0
    return metrics


def make_metrics(rng: np.random.Generator) -> Case:
    lines = [json.dumps(row) + "\n" for row in rows(rng)]
    return Case({"train-metrics.jsonl": "".join(lines).encode()})


def read_metrics(path: Path) -> object:
    return as_floats(RunFolder(path).metrics("train-metrics"))


def parse_metrics(path: Path) -> object:
    lines = (path / "train-metrics.jsonl").read_bytes().split(b"\n")
    lines = lines if lines[-1].endswith(b"}") else lines[:-1]
    found = [plain(line) for line in lines]
    for place, row in enumerate(found, 1):
        if row["epoch"] != place or any(isinstance(value, (dict, list)) for value in row.values()):
            raise Invalid("another epoch")
    return found


def parse_trace(path: Path) -> object:
    found = [plain(line) for line in (path / "train-metrics.jsonl").read_bytes().splitlines() if line.strip()]
    values = [found[0]["sigma_start"], *(row["sigma"] for row in found)]
    if not all(type(value) is float and 0 < value < float("inf") for value in values):
        raise Invalid("sigma")
    return values


def checkpoint(rng: np.random.Generator) -> Checkpoint:
    """A few tensors and a state."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    kinds = (torch.float32, torch.float64, torch.int64, torch.uint8)
    shapes = ((2, 3), (4,), (), (0,))
    tensors = {
        f"model.{name}": (torch.rand(pick(rng, shapes), generator=generator) * 9).to(pick(rng, kinds)) for name in "abc"
    }
    return Checkpoint(tensors, {"epoch": int(rng.integers(9)), "best": float(rng.random())})


def whole(content: Checkpoint) -> bytes:
    """The bytes of a checkpoint's file."""
    return b"".join(map(bytes, content.content()))


def make_checkpoint(rng: np.random.Generator) -> Case:
    return Case({"c.safetensors": whole(checkpoint(rng))}, "c.safetensors")


def read_checkpoint(path: Path) -> object:
    content = Checkpoint.read(path)
    return {"tensors": content.tensors, "state": content.state}


TYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "U8": torch.uint8}


def parse_checkpoint(path: Path) -> dict[str, Any]:
    """Tensors and state, with the seal computed again."""
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    metadata, tensors = header.pop("__metadata__"), {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        data = bytearray(content[begin + first : begin + last])
        kind, shape = TYPES[entry["dtype"]], entry["shape"]
        tensors[name] = (torch.frombuffer(data, dtype=kind) if data else torch.empty(0, dtype=kind)).reshape(shape)
    shapes = {name: (str(tensors[name].dtype), list(tensors[name].shape)) for name in sorted(tensors)}
    seal = sha256(json.dumps([shapes, metadata["state"]]).encode())
    for name in sorted(header):
        first, last = header[name]["data_offsets"]
        seal.update(content[begin + first : begin + last])
    if seal.hexdigest() != metadata["sha256"]:
        raise Invalid("seal")
    return {"tensors": tensors, "state": json.loads(metadata["state"])}


def evidence(rng: np.random.Generator) -> Evidence:
    """A measurement."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    elbo, log_p = (-5 * torch.rand(4, generator=generator, dtype=torch.float64) - offset for offset in (3.0, 2.0))
    errors = torch.rand(4, generator=generator, dtype=torch.float64)
    low, high = Estimate(elbo, "draws", "lower", 7, errors), Estimate(log_p, "importance", "lower", 100, errors)
    return Evidence(low, high, high.minus(low), pick(rng, ("", "why [it] is")))


def make_measurement(rng: np.random.Generator) -> Case:
    best, result = whole(checkpoint(rng)), evidence(rng)
    written = json_bytes(result.to_json())
    state = {"of": sha256(best).hexdigest(), "digests": {}, "json": sha256(written).hexdigest()}
    values = whole(Checkpoint(result.pointwise(), state))
    name = "evidence-test-importance"
    return Case({CONFIG: configs()[0], TRAIN_BEST: best, f"{name}.json": written, f"{name}.safetensors": values})


def read_measurement(path: Path) -> object:
    run = RunFolder.open(path)
    found = read_stored(run, "evidence-test-importance", RunState.of(run))
    if found is None:
        raise ValueError(f"{path} holds no current measurement; it is measured again")
    evidence_of(*found)
    return {"json": as_floats(found[0]), "tensors": found[1]}


def parse_measurement(path: Path) -> object:
    name = "evidence-test-importance"
    values, written = parse_checkpoint(path / f"{name}.safetensors"), (path / f"{name}.json").read_bytes()
    best = sha256((path / TRAIN_BEST).read_bytes()).hexdigest()
    if values["state"]["of"] != best or values["state"]["json"] != sha256(written).hexdigest():
        raise Invalid("seal")
    return {"json": plain(written), "tensors": values["tensors"]}


def make_summary(rng: np.random.Generator) -> Case:
    result = evidence(rng)
    split = Split(result, result.elbo, result.gap, float(rng.random()), None)
    summary = Summary("run", "text with linear_counts", "elbo", "loo", 2, 3, {"test": split}, ("a note",))
    written = json_bytes(summary.to_json())
    values = {f"test.{key}": value for key, value in split.pointwise().items()}
    sealed = Checkpoint(values, {"data": ["test"], "json": sha256(written).hexdigest()})
    return Case({CONFIG: configs()[0], "summary.json": written, "pointwise.safetensors": whole(sealed)})


def read_summary(path: Path) -> object:
    run = RunFolder.open(path)
    summary = Summary.of(run)
    assert summary is not None
    return {"json": as_floats(run.summary), "table": len(str(summary)) > 0}


def parse_summary(path: Path) -> object:
    values, written = parse_checkpoint(path / "pointwise.safetensors"), (path / "summary.json").read_bytes()
    if values["state"]["json"] != sha256(written).hexdigest():
        raise Invalid("seal")
    return {"json": plain(written), "table": True}


def _json(name: str) -> Callable[[Path], object]:
    return lambda path: plain((path / name).read_bytes())


FORMS = (
    Form("config.json", make_config, read_config, _json(CONFIG)),
    Form(
        "metrics.jsonl", make_metrics, lambda path: as_floats(RunFolder(path).metrics("train-metrics")), parse_metrics
    ),
    Form("trace of sigma", make_metrics, read_trace, parse_trace),
    Form("checkpoint", make_checkpoint, read_checkpoint, parse_checkpoint),
    Form("measurement", make_measurement, read_measurement, parse_measurement),
    Form("summary.json", make_summary, read_summary, parse_summary),
)
