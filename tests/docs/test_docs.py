"""The code of the README and of the how-to pages runs as printed."""

import re
from pathlib import Path

import pytest
import torch

from ppl_vae.data import synthetic
from ppl_vae.data.readers import gaussians
from tests.support.z_test import assert_mean

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def few_points(monkeypatch):
    """The corpus of points has a tenth of its data: the blocks show how, not how well."""

    def fixed_sample(*of_all):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(synthetic, "_TRAIN", 1_000)
            return synthetic.fixed_sample(*of_all)

    monkeypatch.setattr(gaussians, "SIZE", 1_200)
    monkeypatch.setattr(gaussians, "fixed_sample", fixed_sample)


PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/*.md"))]


def blocks_of(page):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)])
def test_code_of_the_page_runs(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = blocks_of(page)
    names: dict = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    assert capsys.readouterr().out
    if page == "README.md":
        assert sum(names["losses"][-20:]) < 0.5 * sum(names["losses"][:20])
        assert names["result"].gap.mean > 0
    elif page == "docs/arviz.md":
        assert names["elbo"].mean() < names["evidence"].mean()
        assert names["loo"].loo_i.shape == (40,)
    elif page == "docs/information.md":
        assert names["result"].units.collapsed == ["z[2]"]
    elif page == "docs/estimators.md":
        assert_mean(names["samples"], names["estimate"](names["Enumerate"](), names["f"], names["logits"]))
    elif page == "docs/likelihood.md":
        assert names["error"] > 0
    elif page == "docs/tightness.md":
        assert (names["gray"].status, names["around"].status) == ("tight", "outside")
    elif page == "docs/own-pair.md":
        assert names["weights"].shape == torch.Size((10, 50))
        assert names["result"].faults[0].found == "no gradient reaches guide.reader.weight, guide.reader.bias"
