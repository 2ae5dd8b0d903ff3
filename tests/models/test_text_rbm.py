import pytest
import torch
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.guides.posterior import Posterior
from ppl_vae.models.text_rbm import TextRbm

from ppl_vae.data.counts import PackedCounts
from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.diagnostics.tightness.tightness import tightness
from ppl_vae.distributions.bits import bit_states
from ppl_vae.evidence.measure import measure
from ppl_vae.programs.log_weight import log_joint
from tests.support.small_pairs import documents

PAIRS = [[2, 0, 0], [0, 2, 0], [0, 0, 2], [1, 1, 0], [1, 0, 1], [0, 1, 1]]


def tight(vocabulary=3, bits=2):
    model = TextRbm(vocabulary, bits=bits)
    for parameter in model.parameters():
        parameter.data.normal_()
    return model


@pytest.mark.usefixtures("float64")
def test_is_the_density_of_the_formula():
    model, x, z = tight(), PackedCounts.from_dense(PAIRS), bit_states(2)
    joint = log_joint(model, x, {"z": z[:, None].expand(-1, len(x), -1)})
    dense = torch.tensor(PAIRS, dtype=torch.float64)
    by_hand = torch.einsum("xk,kj,zj->zx", dense, model.words.weight, z) + dense @ model.words.bias
    by_hand = by_hand + (z @ model.code_bias)[:, None] + x.log_coefficient
    torch.testing.assert_close(joint, by_hand - by_hand.logsumexp((0, 1)))


@pytest.mark.usefixtures("float64")
def test_its_linear_posterior_is_exact():
    x, model = documents(8, 5), tight(5, 3)
    guide = LinearCounts(model, x)
    guide.encoder.weight.data.copy_(model.words.weight)
    guide.encoder.bias.data.copy_(model.code_bias)
    for each in (guide, Posterior(model, x)):
        torch.testing.assert_close(measure(model, each, x).gap.pointwise, torch.zeros(8), atol=1e-10, rtol=0)
    assert split_gap(model, guide, x).family_gap.mean < 1e-9
    assert tightness(model, guide, x).status == "tight"


def test_long_documents_lose_no_digits():
    x, model = PackedCounts.from_dense([[20_000, 30_000, 1], [3, 0, 9_000]]), tight()
    assert measure(model, Posterior(model, x), x).gap.pointwise.abs().max() < 0.02  # of 1e5 nats, in float32


def test_longer_codes_than_a_table_holds_are_refused():
    with pytest.raises(ValueError, match="1 to 16 bits, got 17"):
        TextRbm(9, bits=17)
