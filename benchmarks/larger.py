"""Five million documents and a million images, packed and trained on: ``python -m benchmarks.larger``.

Every piece runs in a process of its own, with one thread, whose peak of resident memory the system reports. An epoch is
the loop of a training without its validation; its rate is compared with that of a small corpus of the same
distribution in memory, of which a process goes through as many epochs as take a minute, before the large one and after
it. Seconds are of the processor, which a neighbour does not take away. All files lie in a temporary folder and are
removed, at most 3 GB of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.stored import keep, read

WORDS, TOPICS, LENGTH = 10_000, 50, 40
"""Vocabulary, topics and mean length of documents."""

PART = 100_000
"""Data of a file."""

SMALL = 10_000
"""Data of the corpus in memory."""

PAIRS = {"documents": ("text", "linear_counts", {}), "images": ("ppca", "mean_field", {"latents": 8})}


def write_documents(folder: Path, number: int, count: int) -> None:
    """A file of documents, each of words of one topic with Zipf's frequencies."""
    from scipy.sparse import csr_matrix, save_npz

    rng = np.random.default_rng([0, number])
    frequency = 1 / np.arange(1, WORDS + 1)
    table = np.searchsorted(np.cumsum(frequency) / frequency.sum(), (np.arange(2**16) + 0.5) / 2**16)
    order = np.stack([np.random.default_rng([1, topic]).permutation(WORDS) for topic in range(TOPICS)])
    lengths = 1 + rng.poisson(LENGTH - 1, count)
    rows = np.repeat(np.arange(count), lengths)
    topics = np.repeat(rng.integers(0, TOPICS, count), lengths)
    words = order[topics, table[rng.integers(0, 2**16, len(rows))]]
    places, counts = np.unique(rows * WORDS + words, return_counts=True)
    entries = counts.astype(np.uint8), (places // WORDS, places % WORDS)
    save_npz(folder / f"{number:03}.npz", csr_matrix(entries, shape=(count, WORDS)), compressed=False)


def write_images(folder: Path, number: int, count: int) -> None:
    """A file of images of bytes, 16 x 16: a bright spot each."""
    rng = np.random.default_rng([2, number])
    place, size = rng.uniform(3, 13, (count, 2, 1)), rng.uniform(1, 3, (count, 1, 1))
    distance = [np.square(np.arange(16) - place[:, axis]) for axis in (0, 1)]
    light = np.exp(-(distance[0][:, :, None] + distance[1][:, None, :]) / (2 * size**2))
    pixels = (255 * light).astype(np.uint8)
    head = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in pixels.shape)
    (folder / f"{number:03}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())


def in_process(*command: str) -> dict[str, Any]:
    """What a process took: seconds, those of the processor, and its peak of resident memory in MB."""
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    took = {"wall": time.monotonic() - begun, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss / 1024}
    return took | (json.loads(output.splitlines()[-1]) if output.startswith("{") else {})


def epoch(kind: str, corpus: str, count: int, least: float) -> dict[str, float]:
    """Whole epochs of steps until so many seconds of the processor have passed, and at least one.

    Arguments:
        kind: Documents or images.
        corpus: Path of the data; packed, they stay on the disk.
        count: Training data taken into memory; 0 leaves all on the disk.
        least: Seconds.
    """
    import torch

    from ppl_vae.runs.options import run_config
    from ppl_vae.runs.pair import Pair, make_objective
    from ppl_vae.training.order import batches
    from ppl_vae.training.steps import Steps

    model, guide, options = PAIRS[kind]
    config = run_config(model, guide, corpus=corpus, epochs=1, batch_size=1024, **options)
    train: Any = config.load_corpus().train.values
    if count:
        train = train[torch.arange(0, len(train), max(1, len(train) // count))[:count]]
    pair = Pair.from_config(config, train)
    objective, _, settings = make_objective(config, pair, config.settings, train[:1024])
    steps = Steps(pair.model, pair.guide, objective, settings)
    for x in batches(train[: 20 * 1024], 1024, 0):  # memory and caches as later
        steps.step(x)
    begun, wall, seen = time.process_time(), time.monotonic(), 0
    while seen == 0 or time.process_time() - begun < least:
        for x in batches(train, 1024, seen):
            steps.step(x)
        seen += len(train)
    return {"data": seen, "step_cpu": time.process_time() - begun, "step_wall": time.monotonic() - wall}


def measured(kind: str, count: int, least: float) -> dict[str, Any]:
    """All of one kind of data."""
    write = {"documents": write_documents, "images": write_images}[kind]
    with tempfile.TemporaryDirectory(prefix="larger-") as name:
        folder, packed = Path(name) / "parts", str(Path(name) / "packed")
        folder.mkdir()
        for number in range(-(-count // PART)):
            write(folder, number, min(PART, count - number * PART))
        parts = sorted(map(str, folder.iterdir()))
        source = sum(Path(part).stat().st_size for part in parts)
        print(f"{kind}: {len(parts)} files, {source / 2**20:,.0f} MB", file=sys.stderr)
        row: dict[str, Any] = {"kind": kind, "data": count, "source_mb": source / 2**20}
        row["pack"] = in_process("ppl_vae", "data", "pack", *parts, "--out", packed)
        row["packed_mb"] = sum(file.stat().st_size for file in Path(packed).iterdir()) / 2**20
        print(f"packed: {row['pack']}", file=sys.stderr)
        for part in parts:
            Path(part).unlink()
        small = ("benchmarks.larger", "--epoch", kind, packed, str(SMALL), str(least))
        row["before"] = in_process(*small)
        row["large"] = in_process("benchmarks.larger", "--epoch", kind, packed, "0", "0")
        row["after"] = in_process(*small)
        print(row, file=sys.stderr)
        model, guide, options = PAIRS[kind]
        flags = [text for key, value in options.items() for text in (f"--{key}", str(value))]
        command = ["train", model, "--guide", guide, *flags, "--corpus", packed, "--batch-size", "1024"]
        command += ["--epochs", "1", "--evidence-data", "1000", "--out", str(Path(name) / "run")]
        row["train"] = in_process("ppl_vae", *command)
        return row


def figures(row: dict[str, Any]) -> dict[str, float]:
    """What the page shows of a row: thousands of data per second of the processor, and memory in MB."""
    rate = {part: row[part]["data"] / row[part]["step_cpu"] / 1000 for part in ("before", "large", "after")}
    small = (rate["before"] + rate["after"]) / 2
    return {
        "pack rate": row["data"] / row["pack"]["cpu"] / 1000,
        "pack peak": row["pack"]["peak"],
        "small rate": small,
        "large rate": rate["large"],
        "ratio": rate["large"] / small,
        "epoch peak": row["large"]["peak"],
        "small peak": row["before"]["peak"],
        "train peak": row["train"]["peak"],
    }


def page() -> str:
    """The table of the page on growing."""
    heads = ("data", "source", "packed", "pack", "an epoch", "10,000 in memory", "peak: pack", "an epoch", "`train`")
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for row in read("larger")["rows"]:
        found = figures(row)
        rates = [f"{found[name]:.1f}" for name in ("pack rate", "large rate", "small rate")]
        peaks = [f"{found[name]:,.0f} MB" for name in ("pack peak", "epoch peak", "train peak")]
        sizes = [f"{row[name]:,.0f} MB" for name in ("source_mb", "packed_mb")]
        name = f"{row['data']:,} {row['kind']}"
        lines.append(f"| {' | '.join((name, *sizes, *rates, *peaks))} |")
    return "\n".join(lines)


def main() -> None:
    """Measures, stores what is asked for, and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=5_000_000)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the processor, for the small corpus")
    parser.add_argument("--keep", action="store_true", help="store the result for the page")
    parser.add_argument("--epoch", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.epoch:
        kind, corpus, count, least = options.epoch
        print(json.dumps(epoch(kind, corpus, int(count), float(least))))
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = [measured(kind, getattr(options, kind), options.seconds) for kind in PAIRS if getattr(options, kind)]
    if options.keep:
        keep("larger", rows)
    for row in rows:
        print(row["kind"], {name: round(value, 2) for name, value in figures(row).items()})


if __name__ == "__main__":
    main()
