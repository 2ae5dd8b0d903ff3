import pyro
import pytest
import torch
from ppl_vae.models.text import Text

from ppl_vae.data.counts import PackedCounts
from ppl_vae.distributions.bits import bit_states
from ppl_vae.programs.log_weight import log_joint
from tests.support.small_pairs import documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("hidden", [0, 2])
def test_is_a_density_over_documents_of_a_length(hidden):
    """Probabilities of all two-word documents over three words sum to one."""
    model = Text(3, bits=2, hidden=hidden, width=5)
    pairs = [[2, 0, 0], [0, 2, 0], [0, 0, 2], [1, 1, 0], [1, 0, 1], [0, 1, 1]]
    joint = log_joint(model, PackedCounts.from_dense(pairs), {"z": bit_states(2)[:, None]})
    torch.testing.assert_close(joint.exp().sum(), torch.tensor(1.0))


def test_starts_from_the_word_frequencies():
    unigram = torch.tensor([0.5, 0.3, 0.2])
    model = Text(3, bits=4, unigram=unigram)
    torch.testing.assert_close(model.words.bias.softmax(0), unigram)


def test_draws_documents_as_it_scores_them():
    model, x = Text(3, bits=2), PackedCounts.from_dense([[1, 0, 0]] * 4000)
    with pyro.poutine.uncondition():
        trace = pyro.poutine.trace(model).get_trace(x)
    drawn = torch.from_numpy(trace.nodes["x"]["value"].to_csr().toarray()).double()
    joint = log_joint(model, PackedCounts.from_dense([[1, 0, 0], [0, 1, 0], [0, 0, 1]]), {"z": bit_states(2)[:, None]})
    assert_mean(drawn, joint.exp().sum(0))


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="bits must be at least 1, got 0"):
        Text(3, bits=0)
    assert len(Text(3, hidden=2).hidden) == 4
    assert len(documents()) == 5
