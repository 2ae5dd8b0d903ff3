"""``ppl-vae list``, and the help of a model with its guide."""

from pathlib import Path

from ppl_vae.plugins.discovery import available
from tests.support.cli import invoke, json_of

UNRUN = '''
"""Mine."""
from ppl_vae.evidence.methods.base import EvidenceMethod

raise AssertionError("the list runs no file")

class Mine(EvidenceMethod):
    pass
'''


def test_help_shows_the_options_of_model_and_guide():
    base = invoke("train", "--help").output
    assert "Model text" not in base and "Length m of the code" not in base
    full = invoke("train", "models/text.py", "--guide", "mean_field", "--help").output
    for words in (
        "Model text:",
        "--bits",
        "Length m of the code",
        "Guide mean_field:",
        "--guide-layers",
    ):
        assert words in full
    assert "--guide-layers" not in invoke("train", "text", "--guide", "linear_counts", "--help").output
    # Options before the model are understood as well.
    assert "--bits" in invoke("train", "--guide=mean_field", "--epochs", "3", "text", "--help").output


def test_list_shows_what_goes_with_what(folder):
    content = json_of("list")
    guides = {row["name"]: row for row in content["guides"]}
    assert {"linear_counts", "deep_frequencies", "linear_frequencies", "mean_field", "full"} <= set(guides)
    assert {"text", "gmm", "ppca", "rbm"} <= set(guides["full"]["goes_with"])
    estimators = {row["name"]: row["goes_with"] for row in content["estimators"]}
    assert {"full", "tree"} <= set(estimators["loo"])
    assert "tree" not in estimators["disarm"]
    assert all(row["summary"] for rows in content.values() for row in rows)
    whole, guides_alone = invoke("list").output, invoke("list", "guides").output
    assert "linear_counts" in whole and "goes with" not in whole and "ppl-vae list KIND" in whole
    assert "linear_counts" in guides_alone and "goes with" in guides_alone and "disarm" not in guides_alone
    assert json_of("list", "estimators") == {"estimators": content["estimators"]}


def test_the_list_shows_no_markup():
    assert "`" not in invoke("list").output and "auto" in invoke("list", "engines").output


def test_list_shows_evidence_methods_and_experiments(folder):
    for kind in ("evidence", "experiments"):
        Path(kind).mkdir()
        Path(kind, "mine.py").write_text(UNRUN)
    content = json_of("list")
    for kind in ("evidence", "experiments"):
        listed = {row["name"]: row["summary"] for row in content[kind]}
        assert listed == {name: plugin.summary for name, plugin in available(kind).items()}
        assert listed["mine"] == "Mine."
    assert {"annealing", "enumeration", "quadrature"} <= {row["name"] for row in content["evidence"]}
    assert {"gmm", "rate_distortion"} <= {row["name"] for row in content["experiments"]}
    output = invoke("list").output
    assert "evidence methods" in output and "rate_distortion_text" in output
