"""Latents in plates inside the plate over data, against sums over their states in NumPy."""

import itertools

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.mean_field import MeanField
from scipy.special import expit, logsumexp
from scipy.stats import bernoulli, norm

from ppl_vae.evidence.measure import measure
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.log_weight import log_weight

pytestmark = pytest.mark.usefixtures("float64")

WORDS, TOPICS = 3, np.log([0.5, 0.3, 0.2])
VOCABULARY = np.log(np.random.default_rng(0).dirichlet(np.ones(5), size=3))
DOCUMENTS = torch.tensor([[0, 1, 4], [2, 2, 3]])
SWITCHES, WEIGHT = np.array([0.2, -0.4, 1.0]), np.array([[1.0, -0.5], [0.3, 0.8], [-1.0, 0.4]])


def topics(x):
    with pyro.plate("documents", len(x)), pyro.plate("words", WORDS):
        topic = pyro.sample("topic", dist.Categorical(logits=torch.tensor(TOPICS)), infer={"enumerate": "parallel"})
        pyro.sample("word", dist.Categorical(logits=torch.tensor(VOCABULARY)[topic]), obs=x.T)


def topics_given_words(x):
    with pyro.plate("documents", len(x)), pyro.plate("words", WORDS):
        logits = torch.tensor(TOPICS) + torch.tensor(VOCABULARY).T[x.T]
        pyro.sample("topic", dist.Categorical(logits=logits))


def log_evidence_of_documents():
    joint = TOPICS[:, None, None] + VOCABULARY[:, DOCUMENTS.numpy()]
    return logsumexp(joint, 0).sum(-1)


def switches(x):
    with pyro.plate("rows", len(x), dim=-2):
        with pyro.plate("switches", len(SWITCHES), dim=-1):
            z = pyro.sample("z", dist.Bernoulli(logits=torch.tensor(SWITCHES)))
        pyro.sample("x", dist.Normal((z @ torch.tensor(WEIGHT)).unsqueeze(-2), 0.8).to_event(1), obs=x[:, None])


def independent_switches(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Bernoulli(logits=x @ torch.tensor(WEIGHT).T).to_event(1))


def log_joints(x):
    """log p(x, z), ``(states, data)``, and the states."""
    states = np.array(list(itertools.product([0.0, 1.0], repeat=len(SWITCHES))))
    prior = bernoulli.logpmf(states, expit(SWITCHES)).sum(-1)
    return prior[:, None] + norm.logpdf(x, (states @ WEIGHT)[:, None], 0.8).sum(-1), states


def test_topics_of_words_under_their_posterior_have_the_evidence_as_every_weight():
    weights = log_weight(topics, topics_given_words, DOCUMENTS, 5)
    assert np.allclose(weights, np.broadcast_to(log_evidence_of_documents(), (5, 2)))
    measured = measure(topics, topics_given_words, DOCUMENTS, draws=10)
    assert np.allclose(measured.evidence.pointwise, log_evidence_of_documents())


@pytest.mark.parametrize("estimator", ["enumerate", "loo"])
def test_the_objective_of_topics_of_words_is_the_evidence_under_their_posterior(estimator):
    loss = DiscreteELBO(estimator, draws=2).loss(topics, topics_given_words, DOCUMENTS)
    assert loss == pytest.approx(-log_evidence_of_documents().sum())


def test_switches_are_enumerated_by_a_guide_of_one_plate():
    x = torch.randn(4, 2)
    joint, states = log_joints(x.numpy())
    measured = measure(switches, independent_switches, x, method="enumeration")
    assert np.allclose(measured.evidence.pointwise, logsumexp(joint, 0))
    log_q = bernoulli.logpmf(states[:, None], expit(x.numpy() @ WEIGHT.T)).sum(-1)
    bound = (np.exp(log_q) * (joint - log_q)).sum(0)
    assert np.allclose(measured.elbo.pointwise, bound)
    assert DiscreteELBO("enumerate").loss(switches, independent_switches, x) == pytest.approx(-bound.sum())


def test_mean_field_draws_latents_of_nested_plates():
    x = torch.randn(4, 2)
    guide = MeanField(switches, x)
    (z,) = latents(run(guide, (x,), {}, draws=3)).values()
    assert z["value"].shape == (3, 4, len(SWITCHES))
    joint, _ = log_joints(x.numpy())
    assert np.allclose(measure(switches, guide, x).evidence.pointwise, logsumexp(joint, 0), rtol=1e-6)
