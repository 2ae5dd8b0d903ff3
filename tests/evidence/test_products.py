"""Sums over codes by matrix products, against those from the log-densities of the sites."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.full import Full
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.text import Text

import ppl_vae.evidence.methods.enumeration as enumeration
from ppl_vae.distributions.bits import bit_states
from ppl_vae.distributions.multinomial import PackedMultinomial
from ppl_vae.distributions.softmax import log_normaliser
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.products import Products
from ppl_vae.nn.modes import evaluating
from tests.support.small_pairs import documents

pytestmark = pytest.mark.usefixtures("float64")


def pair(bits, hidden=0, scale=1.0, count=9):
    x = documents(count, 11)
    model = Text(11, bits=bits, hidden=hidden, width=8)
    model.words.weight.data.normal_(0, scale)
    return model, LinearCounts(model, x), x


def both_ways(monkeypatch, model, guide, x):
    """The measurement by products, and by densities."""
    taken = []
    add = Products.add
    monkeypatch.setattr(Products, "add", lambda self, codes: (taken.append(len(codes["z"])), add(self, codes))[1])
    by_products = measure(model, guide, x)
    assert sum(taken) == 2**model.bits
    monkeypatch.setattr(enumeration, "_by_products", lambda *args: None)
    return by_products, measure(model, guide, x)


@pytest.mark.parametrize("scale", [1.0, 30.0], ids=["mild", "steep"])
@pytest.mark.parametrize(("bits", "hidden"), [(1, 0), (7, 0), (12, 0), (3, 2)])
def test_they_agree(bits, hidden, scale, monkeypatch):
    found, expected = both_ways(monkeypatch, *pair(bits, hidden, scale))
    for name in ("evidence", "elbo", "gap"):
        torch.testing.assert_close(getattr(found, name).pointwise, getattr(expected, name).pointwise)
    assert found.evidence.method == expected.evidence.method


def test_blocks_and_tiles_do_not_matter(monkeypatch):
    model, guide, x = pair(7)
    whole = measure(model, guide, x)
    monkeypatch.setattr(enumeration, "BLOCK", 48)
    monkeypatch.setattr("ppl_vae.evidence.products.TILE", 100)
    found = measure(model, guide, x)
    torch.testing.assert_close(found.evidence.pointwise, whole.evidence.pointwise)
    torch.testing.assert_close(found.elbo.pointwise, whole.elbo.pointwise)


def test_single_precision_is_good_to_a_thousandth_of_a_nat(monkeypatch):
    """Long documents: thousands of nats of coefficient and lengths must not meet the small sums."""
    torch.manual_seed(1)
    x = documents(20, 2000)
    model = Text(2000, bits=10, unigram=torch.rand(2000).softmax(0))
    guide = LinearCounts(model, x)
    exact = measure(model, guide, x)
    model.float(), guide.float()
    torch.set_default_dtype(torch.float32)
    found = measure(model, guide, x)
    assert x.lengths.min() > 1500
    assert (found.evidence.pointwise - exact.evidence.pointwise).abs().max() < 1e-3
    assert (found.elbo.pointwise - exact.elbo.pointwise).abs().max() < 1e-3


def test_all_cells_are_told():
    model, _, x = pair(7)
    cells = []
    measure(model, LinearCounts(model, x), x, progress=cells.append)
    assert sum(cells) == 2**7 * len(x)


def scaled(model):
    def program(x):
        with pyro.poutine.scale(scale=2.0):
            model(x)

    return program


def hierarchical(x):
    """The second bits depend on the first: they are of the codes alone."""
    with pyro.plate("data", len(x)):
        a = pyro.sample("a", dist.Bernoulli(0.3 * torch.ones(2)).to_event(1))
        b = pyro.sample("b", dist.Bernoulli(logits=a @ torch.tensor([[1.0, -2.0, 0.5], [0.3, 1.0, -1.0]])).to_event(1))
        hidden = torch.cat(torch.broadcast_tensors(a.sum(-1, keepdim=True), b.sum(-1, keepdim=True)), -1)
        weight = torch.arange(22.0).reshape(11, 2).sin()
        pyro.sample("x", PackedMultinomial(x.lengths, hidden=hidden, weight=weight, bias=torch.zeros(11)), obs=x)


def free(x):
    """A guide that does not look at the data."""
    with pyro.plate("data", len(x)):
        pyro.sample("a", dist.Bernoulli(0.4 * torch.ones(2)).to_event(1))
        pyro.sample("b", dist.Bernoulli(0.6 * torch.ones(3)).to_event(1))


def compare(monkeypatch, model, guide, x):
    found = measure(model, guide, x)
    monkeypatch.setattr(enumeration, "_by_products", lambda *args: None)
    expected = measure(model, guide, x)
    torch.testing.assert_close(found.evidence.pointwise, expected.evidence.pointwise)
    torch.testing.assert_close(found.elbo.pointwise, expected.elbo.pointwise)


def test_bits_that_depend_on_bits_and_guides_that_read_nothing(monkeypatch):
    compare(monkeypatch, hierarchical, free, documents(9, 11))


def test_a_scaled_pair_is_measured_as_if_it_were_not():
    model, guide, x = pair(4)
    plain, other = measure(model, guide, x), measure(scaled(model), guide, x)
    assert torch.equal(plain.evidence.pointwise, other.evidence.pointwise)
    assert torch.equal(plain.elbo.pointwise, other.elbo.pointwise)


@pytest.mark.parametrize("case", ["joint guide", "dense", "one datum"])
def test_other_pairs_go_the_other_way(case, monkeypatch):
    model, guide, x = pair(4)
    if case == "joint guide":
        guide = Full(model, x)
    elif case == "one datum":
        x = x[:1]
    else:
        weight = torch.randn(4, 3)

        def model(x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(4)).to_event(1))
                pyro.sample("x", dist.Normal(z @ weight, 1.0).to_event(1), obs=x)

        x = torch.randn(5, 3)

        def guide(x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(4)).to_event(1))

    monkeypatch.setattr(Products, "result", lambda self: pytest.fail("no products"))
    assert measure(model, guide, x).evidence.bound == "exact"


def test_words_that_a_model_rules_out_go_the_other_way():
    model, guide, x = pair(4)
    model.words.bias.data[3] = -torch.inf
    evidence = measure(model, guide, x).evidence.pointwise
    assert ((evidence == -torch.inf) == torch.from_numpy(x.to_csr().toarray()[:, 3] > 0)).all()


@pytest.mark.parametrize("scale", [0.1, 5.0, 1e3], ids=["flat", "usual", "nothing in common"])
@pytest.mark.parametrize("start", [0, 64, 100])
def test_normalisers_of_codes_that_count_up(start, scale):
    """By halves where they form a grid (from 64 codes on), even where the halves prefer different words."""
    codes = bit_states(9)[start : start + 64]
    weight, bias = scale * torch.randn(50, 9), scale * torch.randn(50)
    expected = (codes @ weight.T + bias).logsumexp(-1)
    with evaluating():
        torch.testing.assert_close(log_normaliser(codes, weight, bias), expected)
    torch.testing.assert_close(log_normaliser(codes, weight, bias), expected)
