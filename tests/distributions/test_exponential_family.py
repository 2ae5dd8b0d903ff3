import pyro.distributions as dist
import pytest
import torch

from ppl_vae.data.counts import PackedCounts
from ppl_vae.distributions import exponential_family as ef
from ppl_vae.distributions.bits import AutoregressiveBits, JointBits
from ppl_vae.distributions.multinomial import PackedMultinomial
from tests.support.small_pairs import documents

pytestmark = pytest.mark.usefixtures("float64")


def positive(*shape):
    return torch.rand(*shape) + 0.2


def cholesky(*shape):
    return torch.randn(*shape, shape[-1]).tril(-1) + torch.diag_embed(positive(*shape))


FAMILIES = {
    "Bernoulli": lambda: dist.Bernoulli(logits=torch.randn(4, 3)),
    "bits": lambda: dist.Bernoulli(torch.rand(4, 2, 3)).to_event(2),
    "Categorical": lambda: dist.Categorical(logits=torch.randn(4, 5)),
    "Categoricals": lambda: dist.Categorical(torch.rand(4, 2, 5)).to_event(1),
    "OneHotCategorical": lambda: dist.OneHotCategorical(logits=torch.randn(4, 5)),
    "OneHotCategoricals": lambda: dist.OneHotCategorical(logits=torch.randn(4, 2, 5)).to_event(1),
    "Normal": lambda: dist.Normal(torch.randn(4, 3), positive(4, 3)).to_event(1),
    "expanded": lambda: dist.Normal(torch.randn(3), positive(1)).to_event(1).expand([6, 4]),
    "LogNormal": lambda: dist.LogNormal(torch.randn(4, 3), positive(4, 3)).to_event(1),
    "MultivariateNormal": lambda: dist.MultivariateNormal(torch.randn(4, 3), scale_tril=cholesky(4, 3)),
    "shared covariance": lambda: dist.MultivariateNormal(torch.randn(4, 3), covariance_matrix=2 * torch.eye(3)),
    "MultivariateNormals": lambda: dist.MultivariateNormal(torch.randn(4, 2, 3), scale_tril=cholesky(4, 2, 3)).to_event(
        1
    ),
    "reshaped MultivariateNormal": lambda: dist.TransformedDistribution(
        dist.MultivariateNormal(torch.randn(4, 6), scale_tril=cholesky(4, 6)),
        [dist.transforms.ReshapeTransform(torch.Size([6]), torch.Size([2, 3]))],
    ),
    "Poisson": lambda: dist.Poisson(3 * positive(4, 3)).to_event(1),
    "Gamma": lambda: dist.Gamma(positive(4, 3), positive(4, 3)).to_event(1),
    "Exponential": lambda: dist.Exponential(positive(4, 3)).to_event(1),
    "Beta": lambda: dist.Beta(positive(4, 3), positive(4, 3)).to_event(1),
    "JointBits": lambda: JointBits(torch.randn(4, 8)),
    "JointBits of a table": lambda: JointBits(torch.randn(4, 16), torch.Size((2, 2))),
}


@pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)
def test_the_parts_add_up_to_the_density(make):
    fn = make()
    value = fn.sample((50,))
    seen, natural = ef.statistics(fn, value), ef.natural(fn)
    assert seen.shape == (50, *fn.batch_shape, natural.shape[-1])
    assert natural.shape[:-1] == ef.log_normaliser(fn).shape == fn.batch_shape
    total = ef.log_base(fn, value) + (seen * natural).sum(-1) - ef.log_normaliser(fn)
    torch.testing.assert_close(total, fn.log_prob(value))


@pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)
def test_statistics_are_minimal(make):
    """No affine function of them is constant over many values."""
    fn = make()
    seen = ef.statistics(fn, fn.sample((3000,))).reshape(-1, ef.natural(fn).shape[-1])
    spread = seen - seen.mean(0)
    assert torch.linalg.matrix_rank(spread / spread.std(0)) == seen.shape[-1]


@pytest.mark.parametrize("form", ["logits", "layer"])
def test_documents_stay_packed(form):
    x, weight, bias, hidden = documents(), torch.randn(7, 2), torch.randn(7), torch.randn(6, 1, 2)
    parameters = {"logits": hidden @ weight.T + bias} if form == "logits" else {}
    fn = PackedMultinomial(x.lengths, **(parameters or {"hidden": hidden, "weight": weight, "bias": bias}))
    seen = ef.statistics(fn, x)
    assert isinstance(seen, PackedCounts)
    # Words of codes alone: one row of parameters, whatever the number of documents.
    codes = PackedMultinomial(x[:1].lengths, **(parameters or {"hidden": hidden, "weight": weight, "bias": bias}))
    natural = ef.natural(codes)
    assert natural.shape == (6, 1, 7)
    total = ef.log_base(fn, x) + (seen @ natural[:, 0].T).T - ef.log_normaliser(fn)
    torch.testing.assert_close(total, fn.log_prob(x))


def test_other_families_are_an_error_that_lists_the_known():
    student = dist.StudentT(3.0, torch.zeros(2)).to_event(1)
    assert not ef.is_known(student)
    assert not ef.is_known(dist.Normal(0.0, 1.0).mask(torch.tensor(True)))
    assert ef.family(student) == "StudentT"
    chain = AutoregressiveBits(lambda code: code * 0, torch.Size(), 2, torch.zeros(1))
    for fn, call in ((student, ef.natural), (chain, ef.log_normaliser)):
        with pytest.raises(ValueError, match=f"{type(ef.base(fn)).__name__} is no exponential family .* Bernoulli, "):
            call(fn)


def test_data_shared_by_all_codes_are_scored_by_one_product():
    logits, x = torch.randn(5, 1, 3, 2), torch.rand(4, 3, 2).round()
    fn = dist.Bernoulli(logits=logits).to_event(2).expand([5, 4])
    found = ef.log_prob(fn, x)
    torch.testing.assert_close(found, fn.log_prob(x))
    own = dist.Bernoulli(logits=torch.randn(5, 4, 3, 2)).to_event(2)
    torch.testing.assert_close(ef.log_prob(own, x), own.log_prob(x))
