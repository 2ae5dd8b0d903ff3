"""Pairs of one latent site whose posterior lies in an exponential family, or just outside."""

import pyro
import pyro.distributions as dist
import torch
from torch.nn import functional

from ppl_vae.data.counts import PackedCounts
from ppl_vae.distributions.bits import JointBits, bit_states
from ppl_vae.distributions.multinomial import PackedMultinomial
from ppl_vae.distributions.softmax import log_normaliser
from tests.support.small_pairs import Term

TIGHT = "the posterior is in the family and a linear guide reaches it"
"""What the verdict says of a pair that closes the gap."""


def pair(prior, likelihood, posterior, factor=None):
    """A model and a guide of one latent site, from functions of z and of x."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            pyro.sample("x", likelihood(z, x), obs=x)
            if factor is not None:
                pyro.sample("more", Term(factor(z)), obs=x.new_zeros(len(x)))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", posterior(x))

    return model, guide


def bits(count, logits=None):
    """A guide of independent bits that looks at x or not."""
    return lambda x: dist.Bernoulli(logits=torch.zeros(len(x), count) if logits is None else logits(x)).to_event(1)


def linear_gaussian(weight, posterior, factor=None):
    prior = dist.Normal(torch.zeros(weight.shape[1]), 1.0).to_event(1)
    return pair(prior, lambda z, x: dist.Normal(z @ weight.T + 0.3, 0.7).to_event(1), posterior, factor)


def diagonal(x):
    return dist.Normal(0.3 * x[:, :2], 0.6).to_event(1)


def full_covariance(x):
    return dist.MultivariateNormal(0.3 * x[:, :2], 0.4 * torch.eye(2))


def rbm(weight, u, v):
    """p(z) and p(x | z) of the joint density exp(x'Wz + u'x + v'z) (Schlesinger et al. 2021, eq. 19)."""
    codes = bit_states(weight.shape[1])
    prior = JointBits(codes @ v + functional.softplus(codes @ weight.T + u).sum(1))
    return prior, lambda z, x: dist.Bernoulli(logits=z @ weight.T + u).to_event(1)


def square(order):
    corners = {"gray": [[-1, -1], [1, -1], [-1, 1], [1, 1]], "around": [[-1, -1], [1, -1], [1, 1], [-1, 1]]}[order]
    centres = torch.tensor(corners, dtype=torch.float64)
    prior = dist.Bernoulli(0.5 * torch.ones(2)).to_event(1)
    return centres, pair(
        prior, lambda z, x: dist.Normal(centres[(2 * z[..., 0] + z[..., 1]).long()], 1.0).to_event(1), bits(2)
    )


def tight_text(lengths, vocabulary=30, size=4):
    """The joint density exp(x'Wz + a'x + b'z) of documents of 20 words, seen at documents of any length."""
    weight, a, b = torch.randn(vocabulary, size), torch.randn(vocabulary), torch.randn(size)
    codes = bit_states(size)
    prior = JointBits(codes @ b + 20 * log_normaliser(codes, weight, a))
    words = [torch.multinomial(torch.ones(vocabulary), int(n), replacement=True) for n in lengths]
    x = PackedCounts.from_dense(torch.stack([torch.bincount(w, minlength=vocabulary) for w in words]))
    return x, pair(
        prior,
        lambda z, x: PackedMultinomial(x.lengths, hidden=z, weight=weight, bias=a),
        bits(size, lambda x: x @ torch.ones(vocabulary, size)),
    )


def orthogonal():
    return 1.5 * torch.linalg.qr(torch.randn(5, 2))[0]
