"""The code of the README and of the how-to pages runs as printed."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("page", ["README.md", "docs/own-pair.md", "docs/tightness.md"])
def test_code_of_the_page_runs(page, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    names: dict = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    assert capsys.readouterr().out
    if page == "README.md":
        assert sum(names["losses"][-20:]) < 0.5 * sum(names["losses"][:20])
        assert names["result"].gap.mean > 0
    elif page == "docs/tightness.md":
        assert (names["gray"].status, names["around"].status) == ("tight", "outside")
    else:
        assert names["weights"].shape == torch.Size((10, 50))
