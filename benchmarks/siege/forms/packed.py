"""Packed corpora: folders of arrays with a sealed manifest."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.siege.case import Case, Form
from benchmarks.siege.sources import WORDS, Invalid, pick

NAMES = ("train", "validation", "test")


def make(rng: np.random.Generator) -> Case:
    from scipy.sparse import csr_matrix

    from ppl_vae.data import Source, SourceSplit
    from ppl_vae.data.packed.pack import pack

    count, kind = int(rng.integers(20, 30)), pick(rng, ("documents", "bytes", "floats", "fields"))
    values = {
        "documents": csr_matrix(rng.poisson(pick(rng, (1, 200)), (count, 6)) + 1),
        "bytes": rng.integers(0, 256, (count, 2, 2)).astype(np.float32) / np.float32(255),
        "floats": rng.standard_normal((count, 3)).astype(np.float32),
        "fields": {"x": rng.standard_normal((count, 2)).astype(np.float32), "y": rng.integers(-3, 3, count)},
    }[kind]
    labels = rng.integers(0, 2, count) if rng.random() < 0.5 else None
    titles = tuple(f"{pick(rng, WORDS)} {i}" for i in range(count)) if rng.random() < 0.5 else None
    words = WORDS[:6] if kind == "documents" else ()
    source = Source({"train": SourceSplit(values, labels, titles)}, words, ("a", "b") if labels is not None else ())
    with tempfile.TemporaryDirectory() as folder:
        packed = pack([source], Path(folder) / "packed").folder
        return Case({file.name: file.read_bytes() for file in sorted(packed.iterdir())})


def read(path: Path) -> object:
    """All of the corpus, in memory."""
    from ppl_vae.data import PackedCounts, load_corpus
    from ppl_vae.data.inputs import Inputs

    corpus = load_corpus(str(path))
    splits = {}
    for name, data in corpus.splits.items():
        fields = data.values.fields() if isinstance(data.values, Inputs) else {"x": data.values}
        values = {
            key: field.to_csr().toarray().astype(np.float32) if isinstance(field, PackedCounts) else field[:].numpy()
            for key, field in fields.items()
        }
        labels = None if data.labels is None else data.labels[:].tolist()
        titles = None if data.titles is None else list(data.titles)
        splits[name] = {"values": values, "labels": labels, "titles": titles}
    texts = [list(part) for part in (corpus.vocabulary, corpus.label_names, corpus.notes)]
    return {"texts": texts, "fingerprint": corpus.fingerprint, "splits": splits}


def array(folder: Path, name: str, entry: dict[str, object]) -> np.ndarray:
    """An array by NumPy's own reader, in its type in memory."""
    path = folder / f"{name}.npy"
    if hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
        raise Invalid("checksum")
    values = np.load(path)
    if list(values.shape) != entry["shape"] or values.dtype.str != entry["dtype"]:
        raise Invalid("shape or type")
    values = values.astype(str(entry["kind"]))
    return values / np.float32(255) if entry["divisor"] == 255 else values


def parse(path: Path) -> object:
    body = json.loads((path / "packed-corpus.json").read_bytes())
    seal = body.pop("seal")
    if seal != hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest():
        raise Invalid("seal")
    splits = {}
    for name in NAMES:
        entry = body["splits"][name]
        arrays = {key: array(path, f"{name}.{key}", each) for key, each in entry["values"].items()}
        if body["kind"] == "documents":
            table = np.zeros((entry["data"], len(body["vocabulary"])), np.float32)
            rows = np.repeat(np.arange(entry["data"]), np.diff(arrays["offsets"]))
            table[rows, arrays["words"]] = arrays["counts"]
            arrays = {"x": table}
        values = {key.removeprefix("field-"): each for key, each in arrays.items()}
        labels = array(path, f"{name}.labels", entry["labels"]).tolist() if entry["labels"] else None
        titles = None
        if entry["titles"]:
            text, ends = (array(path, f"{name}.titles-{key}", entry["titles"][key]) for key in ("bytes", "offsets"))
            pairs = zip(ends[:-1], ends[1:], strict=True)
            titles = [text[a:b].astype(np.uint8).tobytes().decode() for a, b in pairs]
        splits[name] = {"values": values, "labels": labels, "titles": titles}
    texts = [body[key] for key in ("vocabulary", "label_names", "notes")]
    return {"texts": texts, "fingerprint": body["fingerprint"], "splits": splits}


FORMS = (Form("PACKED/", make, read, parse),)
