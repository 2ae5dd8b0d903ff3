from pathlib import Path
from typing import Literal

import pytest
import torch

from ppl_vae.cli.options import click_option
from ppl_vae.data.counts import PackedCounts
from ppl_vae.programs.loading import available, facts, find

OWN = '''
from typing import Literal
import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule

class Mine(PyroModule):
    """A model of mine.

    Arguments:
        bits: Length of the
            code.
        kind: Of nothing.
    """

    def __init__(self, shape, bits: int = 4, kind: Literal["a", "b"] = "a", scale: float = 1.0):
        super().__init__()
        self.net = torch.nn.Linear(bits, shape[0])
        self.bits = bits

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.full((self.bits,), 0.5)).to_event(1))
            pyro.sample("x", dist.Normal(self.net(z), 1.0).to_event(1), obs=x)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_options_come_from_the_constructor_and_its_docstring(folder):
    (folder / "mine.py").write_text(OWN)
    definition = find("models", "mine.py")
    bits, kind, scale = definition.options()
    assert (bits.name, bits.type, bits.default, bits.help) == ("bits", int, 4, "Length of the code.")
    assert (kind.type, kind.default) == (("a", "b"), "a")
    assert (scale.type, scale.help) == (float, "")
    assert (definition.summary, definition.data, definition.shipped) == ("A model of mine.", torch.Tensor, False)
    assert Literal  # the annotation a user writes


@pytest.mark.parametrize("name", ["text", "text.py", "models/text.py", "models/text"])
def test_shipped_models_go_by_name_and_by_path_from_anywhere(folder, name):
    definition = find("models", name)
    assert definition.shipped
    assert definition.data is PackedCounts
    assert [option.name for option in definition.options()] == ["bits", "hidden", "width"]


def test_a_users_own_file_wins_over_a_shipped_one(folder):
    (folder / "models").mkdir()
    (folder / "models" / "text.py").write_text(OWN)
    for name in ("text", "models/text.py"):
        assert find("models", name).target.__name__ == "Mine"
    assert [d.name for d in available("models")[0] if not d.shipped] == ["text"]


def test_choices_keep_their_type(folder):
    (folder / "mine.py").write_text(OWN.replace('Literal["a", "b"] = "a"', "Literal[2, 4] = 2"))
    (kind,) = [option for option in find("models", "mine.py").options() if option.name == "kind"]
    flag = click_option(kind)
    assert flag.opts == ["--kind"] and flag.type.convert("4", flag, None) == 4


def test_what_does_not_load_is_named(folder):
    with pytest.raises(ValueError, match="there is no model 'txet'; choose from .*text.*path of a .py file"):
        find("models", "txet")
    with pytest.raises(ValueError, match="there is no file models/txet.py .working folder .*, nor a shipped model"):
        find("models", "models/txet.py")
    with pytest.raises(ValueError, match="there is no guide 'text'; choose from .*linear_counts"):
        find("guides", "text")
    for content, message in (
        ("def (", "broken.py does not load: SyntaxError"),
        ("import nothing_of_that_name", "broken.py does not load: ModuleNotFoundError"),
        ("x = 1", "must define one model: a class of nn.Module.*it defines none"),
        (OWN + "class Other(Mine): pass", "it defines Mine, Other"),
        (OWN.replace("bits: int = 4", "bits: list"), None),
    ):
        (folder / "broken.py").write_text(content)
        if message is None:
            with pytest.raises(ValueError, match="argument 'bits' of Mine is annotated .*list.*an option needs int"):
                find("models", "broken.py").options()
        else:
            with pytest.raises(ValueError, match=message):
                find("models", "broken.py")


def test_neighbours_of_a_users_file_can_be_imported(folder):
    (folder / "my_helper_of_pairs.py").write_text("BITS = 3")
    (folder / "mine.py").write_text("from my_helper_of_pairs import BITS\n" + OWN)
    assert find("models", "mine.py").target.__name__ == "Mine"


def test_facts_of_documents_and_tensors():
    found = facts(PackedCounts.from_dense([[3, 0, 1], [0, 0, 1]]))
    assert found["vocabulary"] == 3
    torch.testing.assert_close(found["unigram"], torch.tensor([4, 1, 3]) / 8)
    assert found["vocab_size"] == 3
    tensors = facts(torch.zeros(5, 2, 3))
    assert tensors.pop("shape") == (2, 3)
    assert tensors == dict.fromkeys(("x_dim", "input_dim", "input_size", "data_dim", "vocab_size"), 6)
