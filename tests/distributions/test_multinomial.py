import pytest
import torch
from pyro.distributions import Multinomial
from torch.autograd import gradcheck

from ppl_vae.data.counts import PackedCounts
from ppl_vae.distributions.bits import AutoregressiveBits, JointBits, bit_states
from ppl_vae.distributions.multinomial import PackedMultinomial
from ppl_vae.distributions.softmax import log_normaliser
from tests.support.small_pairs import documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def reference(x: PackedCounts, logits: torch.Tensor) -> torch.Tensor:
    """Pyro's dense multinomial, document by document."""
    rows = torch.from_numpy(x.to_csr().toarray()).double()
    scores = [
        Multinomial(int(row.sum()), logits=logits[..., i, :], validate_args=False).log_prob(row)
        for i, row in enumerate(rows)
    ]
    return torch.stack(scores, -1)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_both_forms_agree_with_pyros_multinomial(lead):
    x = documents()
    hidden, weight, bias = torch.randn(*lead, 5, 4), torch.randn(7, 4), torch.randn(7)
    logits = hidden @ weight.T + bias
    expected = reference(x, logits)
    torch.testing.assert_close(PackedMultinomial(x.lengths, logits=logits).log_prob(x), expected)
    fused = PackedMultinomial(x.lengths, hidden=hidden, weight=weight, bias=bias)
    torch.testing.assert_close(fused.log_prob(x), expected)
    assert fused.log_prob(x).shape == fused.batch_shape


def test_codes_shared_by_all_documents_score_as_if_repeated():
    x, (hidden, weight, bias) = documents(), (torch.randn(6, 1, 4), torch.randn(7, 4), torch.randn(7))
    shared = PackedMultinomial(x.lengths, hidden=hidden, weight=weight, bias=bias).expand((6, 5))
    repeated = PackedMultinomial(x.lengths, hidden=hidden.expand(6, 5, 4).clone(), weight=weight, bias=bias)
    torch.testing.assert_close(shared.log_prob(x), repeated.log_prob(x))


def test_gradients_of_both_forms_agree():
    x = documents()
    leaves = [torch.randn(*shape, requires_grad=True) for shape in ((3, 5, 4), (7, 4), (7,))]
    hidden, weight, bias = leaves
    upstream = torch.randn(3, 5)
    fused = PackedMultinomial(x.lengths, hidden=hidden, weight=weight, bias=bias).log_prob(x)
    ours = torch.autograd.grad(fused, leaves, upstream)
    expected = torch.autograd.grad(reference(x, hidden @ weight.T + bias), leaves, upstream)
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("block", [1, 14, 15, 10_000], ids=lambda b: f"block{b}")
def test_normaliser_does_not_depend_on_blocks(block):
    inputs = [torch.randn(*shape, requires_grad=True) for shape in ((5, 3), (7, 3), (7,))]
    assert gradcheck(lambda h, w, b: log_normaliser(h, w, b, block=block), inputs)
    torch.testing.assert_close(
        log_normaliser(*inputs, block=block), (inputs[0] @ inputs[1].T + inputs[2]).logsumexp(-1)
    )


def test_normaliser_survives_extreme_logits():
    hidden, weight, bias = torch.ones(2, 1), torch.tensor([[800.0], [-800.0], [0.0]]), torch.zeros(3)
    hidden.requires_grad_()
    total = log_normaliser(hidden, weight, bias)
    assert total.tolist() == [800, 800]
    assert torch.autograd.grad(total.sum(), hidden)[0].tolist() == [[800], [800]]


def test_predictive_draws_have_the_right_lengths_and_frequencies():
    lengths = torch.tensor([3.0, 0.0, 40.0]).repeat(500)
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5])
    drawn = PackedMultinomial(lengths, logits=logits).sample()
    assert torch.equal(drawn.lengths, lengths)
    counts = torch.from_numpy(drawn.to_csr().toarray()).double()[2::3]
    assert_mean(counts, 40 * logits.softmax(-1))


def test_misuse_is_named():
    x = documents()
    good = PackedMultinomial(x.lengths, logits=torch.zeros(5, 7))
    with pytest.raises(ValueError, match="either logits, or all of hidden"):
        PackedMultinomial(x.lengths)
    with pytest.raises(ValueError, match="scores PackedCounts, got Tensor"):
        good.log_prob(torch.zeros(5, 7))
    with pytest.raises(ValueError, match="7 words and the batch 9"):
        good.log_prob(documents(5, 9))
    with pytest.raises(ValueError, match="batch of 4 documents"):
        good.log_prob(x[:4])
    with pytest.raises(ValueError, match="one document per row"):
        good.sample((2,))


def test_states_count_upwards():
    assert bit_states(3)[5].tolist() == [1, 0, 1]
    assert bit_states(1).tolist() == [[0], [1]]


def test_joint_bits_are_a_categorical_over_codes():
    fn = JointBits(torch.randn(4, 8))
    states = fn.enumerate_support()
    assert states.shape == (8, 4, 3)
    torch.testing.assert_close(fn.log_prob(states).exp().sum(0), torch.ones(4))
    assert_mean(fn.sample((4000,)), (fn.log_prob(states).exp()[..., None] * states).sum(0))
    with pytest.raises(ValueError, match="power of two, got 6"):
        JointBits(torch.zeros(6))


def test_autoregressive_bits_sum_to_one_and_are_drawn_as_scored():
    lower = 3 * torch.randn(4, 4).tril(-1)
    fn = AutoregressiveBits(lambda z: z @ lower.T + 0.3, torch.Size((2,)), 4, torch.zeros(1))
    states = bit_states(4)[:, None].expand(16, 2, 4)
    probabilities = fn.log_prob(states).exp()
    torch.testing.assert_close(probabilities.sum(0), torch.ones(2))
    assert_mean(fn.sample((4000,)), (probabilities[..., None] * states).sum(0))
