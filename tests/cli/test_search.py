"""Codes, search and retrieval on the command line."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ppl_vae.cli.main import main
from ppl_vae.data import load_corpus
from ppl_vae.data.query import read_query
from ppl_vae.diagnostics.retrieval.codes import log_odds
from ppl_vae.runs.open import open_run
from ppl_vae.runs.refined import guide_for

TOPICS = {
    "fruit": ["apple", "pear", "plum", "cherry", "fig", "grape", "melon", "peach"],
    "stone": ["granite", "marble", "basalt", "slate", "quartz", "flint", "chalk", "gneiss"],
}
TRAIN = (
    "train",
    "models/text.py",
    "--guide",
    "linear_counts",
    "--corpus",
    "topics.csv",
    "--bits",
    "6",
    "--epochs",
    "15",
)
TRAIN += ("--learning-rate", "0.05")


def invoke(*args: str):
    return CliRunner().invoke(main, args)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with labelled documents of two topics."""
    dice = random.Random(0)
    lines = ["text,label"]
    for i in range(300):
        label = list(TOPICS)[i % 2]
        lines.append(f"{' '.join(dice.choices(TOPICS[label], k=12))} and,{label}")
    (tmp_path / "topics.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_codes_of_a_run_are_written_found_and_judged(folder):
    assert invoke(*TRAIN, "--out", "r").exit_code == 0

    result = invoke("codes", "r")
    assert result.exit_code == 0, result.output
    assert "numpy.unpackbits(codes['train_codes'], axis=1, count=6)" in result.output
    with np.load("r/codes.npz", allow_pickle=False) as kept:
        sizes = {split: len(kept[f"{split}_codes"]) for split in ("train", "validation", "test")}
        assert sum(sizes.values()) == 300 == sum(len(kept[f"{split}_labels"]) for split in sizes)
        assert kept["bits"] == 6 and kept["train_codes"].dtype == np.uint8
        assert kept["label_names"].tolist() == ["fruit", "stone"]
        bits = np.unpackbits(kept["train_codes"], axis=1, count=6)
        # Both topics have codes of their own.
        means = [bits[kept["train_labels"] == label].mean(0) for label in (0, 1)]
        assert np.abs(means[0] - means[1]).max() > 0.8
    for how in ("median", "sampled"):
        content = json.loads(invoke("codes", "r", "--split", "test", "--how", how, "--out", "c.npz", "--json").stdout)
        assert content == {"file": "c.npz", "bits": 6, "data": {"test": sizes["test"]}}

    result = invoke("search", "r", "a", "Marble", "slate", "quartz zebra", "--count", "5", "--json")
    content = json.loads(result.stdout)
    assert content["query"] == ["marble", "slate", "quartz"] and content["unknown"] == ["zebra"]
    assert [hit["label"] for hit in content["hits"]] == ["stone"] * 5
    keys = [(hit["distance"], -hit["similarity"]) for hit in content["hits"]]
    assert keys == sorted(keys)
    assert all(set(hit["shared"]) <= {"marble", "slate", "quartz"} for hit in content["hits"])
    corpus = load_corpus("topics.csv")
    first = content["hits"][0]
    own = corpus.splits[first["split"]].values.to_csr()[first["row"]].toarray()[0]
    assert set(first["shared"]) == {w for w in content["query"] if own[corpus.vocabulary.index(w)]}
    assert "not in the vocabulary: zebra" in invoke("search", "r", "marble zebra").output

    result = invoke("retrieval", "r", "--k", "20")
    assert result.exit_code == 0, result.output
    content = json.loads(Path("r/retrieval-test.json").read_text())
    assert content["precision"]["mean-sign"]["mean"] > 0.9 > 0.6 > content["precision"]["chance"]["mean"]
    assert content["database"] == sizes["train"] + sizes["validation"]
    assert "hardest classes" in result.output
    assert Path("r/retrieval-test.safetensors").exists() and Path("r/figures/retrieval-test.png").exists()
    content = json.loads(invoke("retrieval", "r", "--split", "validation", "--data", "9", "--k", "20", "--json").stdout)
    assert (content["queries"], content["database"]) == (9, sizes["train"])

    run = open_run(Path("r"))
    plain, refined = (
        log_odds(run.model, guide_for(run, run.data["test"], steps, None), run.data["test"]) for steps in (0, 30)
    )
    assert (refined - plain).abs().mean() > 0.1
    content = json.loads(invoke("codes", "r", "--split", "test", "--refine", "30", "--json").stdout)
    assert content["data"] == {"test": sizes["test"]}
    with np.load("r/codes-refined.npz") as kept:
        np.testing.assert_array_equal(np.unpackbits(kept["test_codes"], axis=1, count=6), refined > 0)
    content = json.loads(invoke("retrieval", "r", "--k", "20", "--refine", "3", "--json").stdout)
    assert content["precision"]["mean-sign"]["mean"] > 0.9
    assert Path("r/retrieval-test-refined.json").exists()


def test_a_run_trained_again_on_everything_keeps_its_labels(folder):
    assert invoke(*TRAIN[:-4], "--epochs", "2", "--retrain", "--out", "r").exit_code == 0
    assert invoke("codes", "r").exit_code == 0
    with np.load("r/codes.npz") as kept:
        assert len(kept["train_codes"]) == len(kept["train_labels"]) == 270
    assert json.loads(invoke("retrieval", "r", "--k", "5", "--json").stdout)["database"] == 270


def test_mistakes_are_answered_in_words(folder):
    assert invoke(*TRAIN[:-4], "--epochs", "1", "--out", "r").exit_code == 0
    for args, words in (
        (
            ("search", "r", "zebra", "lion"),
            "the query (zebra, lion) has none of the 17 words that the corpus keeps; ask with words as common as",
        ),
        (("search", "r", "!!"), "the query (no words) has none"),
        (("search", "nowhere", "apple"), "nowhere is not a run folder"),
        (("retrieval", "r", "--split", "train"), "take queries of another split, --split test"),
        (("retrieval", "r", "--k", "5000"), "the 5000 nearest of 270 documents cannot be retrieved"),
        (("codes", "r", "--split", "all", "--out", "topics.csv/x.npz"), "cannot write"),
    ):
        result = invoke(*args)
        assert result.exit_code == (2 if "nowhere" in args else 1), result.output
        assert words in " ".join(result.output.split())
        assert "Traceback" not in result.output


def test_documents_without_labels_are_searched_but_not_judged(folder):
    lines = Path("topics.csv").read_text().splitlines()
    Path("topics.csv").write_text("\n".join(line.split(",")[0] for line in lines))
    assert invoke(*TRAIN[:-4], "--epochs", "1", "--out", "r").exit_code == 0
    assert "corpus" in invoke("retrieval", "r").output and "has no labels" in invoke("retrieval", "r").output
    assert json.loads(invoke("search", "r", "apple", "--json").stdout)["hits"][0]["label"] is None


def test_queries_are_counted_as_the_corpus_is(folder):
    Path("odd.csv").write_text("text\n" + "über x11 naïve x11\n" * 30)
    corpus = load_corpus("odd.csv")
    query = read_query("ÜBER, naïve über! foo", corpus)
    assert query.known == ("über", "naïve") and query.unknown == ("foo",)
    counts = query.counts.to_csr().toarray()[0]
    assert counts[corpus.vocabulary.index("über")] == 2
