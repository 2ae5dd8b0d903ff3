"""Topic models and counts of cells: simplex, gamma and log-normal latents, words in nested plates."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.special import gammaln, log_softmax, logsumexp
from scipy.stats import beta, nbinom
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.structures.structure import Array, Structure, array, log_mean, normal_grid

__all__ = ["STRUCTURES"]

DOCUMENTS, WORDS, TOPICS, LENGTH = 10, 6, 2, 8


def _counts() -> Tensor:
    return torch.distributions.Multinomial(LENGTH, torch.ones(WORDS)).sample((DOCUMENTS,))


def _multinomial(x: Array, log_probabilities: Array) -> Array:
    """log p(x) of counts, with the multinomial coefficient."""
    coefficient = gammaln(x.sum(-1) + 1) - gammaln(x + 1).sum(-1)
    return coefficient + (x * log_probabilities).sum(-1)


class ProdLDA(nn.Module):
    """The product of experts of the tutorial: logistic-normal proportions, batch normalisation without affine map."""

    def __init__(self) -> None:
        super().__init__()
        self.beta, self.norm = nn.Linear(TOPICS, WORDS, bias=False), nn.BatchNorm1d(WORDS, affine=False)
        self.drop = nn.Dropout(0.2)
        self.encoder = nn.Sequential(nn.Linear(WORDS, 16), nn.Softplus(), nn.Dropout(0.2), nn.Linear(16, 2 * TOPICS))

    def model(self, docs: Tensor) -> None:
        pyro.module("decoder", self)
        with pyro.plate("documents", docs.shape[0]):
            logtheta_loc = docs.new_zeros((docs.shape[0], TOPICS))
            logtheta_scale = docs.new_ones((docs.shape[0], TOPICS))
            logtheta = pyro.sample("logtheta", dist.Normal(logtheta_loc, logtheta_scale).to_event(1))
            theta = functional.softmax(logtheta, -1)
            count_param = functional.softmax(self.norm(self.beta(self.drop(theta))), dim=1)
            total_count = int(docs.sum(-1).max())
            pyro.sample("obs", dist.Multinomial(total_count, count_param), obs=docs)

    def guide(self, docs: Tensor) -> None:
        with pyro.plate("documents", docs.shape[0]):
            loc, log_scale = self.encoder(docs).chunk(2, -1)
            pyro.sample("logtheta", dist.Normal(loc, (0.5 * log_scale).exp()).to_event(1))


def product_of_experts() -> Structure:
    x, pair = _counts(), ProdLDA()

    def truth() -> Array:
        points, weights = normal_grid(TOPICS, 121)
        theta = np.exp(log_softmax(points, -1))
        mean, variance = array(pair.norm.running_mean), array(pair.norm.running_var)
        logits = (theta @ array(pair.beta.weight).T - mean) / np.sqrt(variance + pair.norm.eps)
        return log_mean(weights, _multinomial(array(x)[None], log_softmax(logits, -1)[:, None]))

    return Structure(
        "ProdLDA",
        "plate `documents`, batch normalisation, dropout, `softmax(dim=1)`, `Multinomial`",
        pair.model,
        pair.guide,
        (x,),
        truth,
    )


def topic_proportions() -> Structure:
    """Latent Dirichlet allocation whose topics are parameters and whose words are summed out."""
    x = _counts()
    topics, encoder = nn.Parameter(torch.randn(TOPICS, WORDS)), nn.Linear(WORDS, TOPICS)

    def model(x: Tensor) -> None:
        probabilities = pyro.param("topics", topics).softmax(-1)
        with pyro.plate("documents", len(x)):
            theta = pyro.sample("theta", dist.Dirichlet(torch.ones(TOPICS)))
            pyro.sample("x", dist.Multinomial(LENGTH, theta @ probabilities), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("documents", len(x)):
            pyro.sample("theta", dist.Dirichlet(0.5 + functional.softplus(encoder(x))))

    def truth() -> Array:
        share = (np.arange(4000) + 0.5) / 4000
        probabilities = np.exp(log_softmax(array(topics), -1))
        mixed = np.log(share[:, None] * probabilities[0] + (1 - share[:, None]) * probabilities[1])
        prior = beta(1, 1).logpdf(share) - np.log(len(share))
        return log_mean(prior, _multinomial(array(x)[None], mixed[:, None]))

    return Structure("LDA, words summed out", "Dirichlet latent per document", model, guide, (x,), truth)


def words_of_documents() -> Structure:
    """A topic for each word of a document, drawn in a plate of the words inside that of the documents."""
    words = torch.randint(WORDS, (3, DOCUMENTS))
    topics, encoder = nn.Parameter(torch.randn(TOPICS, WORDS)), nn.Embedding(WORDS, TOPICS)
    logits = nn.Parameter(torch.tensor([0.3, -0.3]))

    def model(words: Tensor) -> None:
        probabilities = pyro.param("topics", topics).softmax(-1)
        share = pyro.param("logits", logits)
        with pyro.plate("documents", words.shape[1]), pyro.plate("words", words.shape[0]):
            topic = pyro.sample("topic", dist.Categorical(logits=share))
            pyro.sample("word", dist.Categorical(probabilities[topic]), obs=words)

    def guide(words: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("documents", words.shape[1]), pyro.plate("words", words.shape[0]):
            pyro.sample("topic", dist.Categorical(logits=encoder(words)))

    def truth() -> Array:
        """Of each row of words, which is a datum: its documents are summed."""
        rates, share = log_softmax(array(topics), -1), log_softmax(array(logits), -1)
        return logsumexp(share + rates[:, words.numpy()].transpose(1, 2, 0), -1).sum(-1)

    return Structure(
        "topics of words, documents in columns",
        "plates `documents` and `words` over `(words, documents)`: a datum is a row",
        model,
        guide,
        (words,),
        truth,
    )


def topics_of_words() -> Structure:
    """As it is mostly written: one row per document, the plate of the words to the right of that of the documents."""
    words = torch.randint(WORDS, (DOCUMENTS, 3))
    topics, encoder = nn.Parameter(torch.randn(TOPICS, WORDS)), nn.Embedding(WORDS, TOPICS)
    logits = nn.Parameter(torch.tensor([0.3, -0.3]))

    def model(words: Tensor) -> None:
        probabilities = pyro.param("topics", topics).softmax(-1)
        share = pyro.param("logits", logits)
        with pyro.plate("documents", len(words), dim=-2), pyro.plate("words", words.shape[1], dim=-1):
            topic = pyro.sample("topic", dist.Categorical(logits=share))
            pyro.sample("word", dist.Categorical(probabilities[topic]), obs=words)

    def guide(words: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("documents", len(words), dim=-2), pyro.plate("words", words.shape[1], dim=-1):
            pyro.sample("topic", dist.Categorical(logits=encoder(words)))

    def truth() -> Array:
        rates, share = log_softmax(array(topics), -1), log_softmax(array(logits), -1)
        return logsumexp(share + rates[:, words.numpy()].transpose(1, 2, 0), -1).sum(-1)

    return Structure("a topic for each word", "categorical latent in a nested plate", model, guide, (words,), truth)


def latent_dirichlet_allocation() -> Structure:
    """The example of Pyro: topics are latents of all documents."""
    words = torch.randint(WORDS, (DOCUMENTS, 3))
    encoder = nn.Linear(3, TOPICS)

    def model(words: Tensor) -> None:
        with pyro.plate("topics", TOPICS):
            topic_words = pyro.sample("topic_words", dist.Dirichlet(torch.ones(WORDS) / WORDS))
        with pyro.plate("documents", len(words), dim=-2):
            share = pyro.sample("share", dist.Dirichlet(torch.ones(1, TOPICS)))
            with pyro.plate("words", words.shape[1], dim=-1):
                topic = pyro.sample("topic", dist.Categorical(share))
                pyro.sample("word", dist.Categorical(topic_words[topic]), obs=words)

    def guide(words: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("topics", TOPICS):
            alpha = pyro.param("alpha", torch.ones(TOPICS, WORDS), constraint=dist.constraints.positive)
            pyro.sample("topic_words", dist.Dirichlet(alpha))
        with pyro.plate("documents", len(words), dim=-2):
            share = pyro.sample("share", dist.Dirichlet(functional.softplus(encoder(words.float()))[:, None] + 0.5))
            with pyro.plate("words", words.shape[1], dim=-1):
                pyro.sample("topic", dist.Categorical(share))

    return Structure(
        "latent Dirichlet allocation", "topics are latents outside the plate of the documents", model, guide, (words,)
    )


def gamma_factors() -> Structure:
    """One layer of a deep exponential family: gamma weights, Poisson counts."""
    x = torch.poisson(torch.full((DOCUMENTS, WORDS), 2.0))
    loading, encoder = nn.Parameter(torch.zeros(WORDS)), nn.Linear(WORDS, 2)

    def model(x: Tensor) -> None:
        weight = functional.softplus(pyro.param("loading", loading))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(torch.full((1,), 1.5), torch.full((1,), 0.7)).to_event(1))
            pyro.sample("x", dist.Poisson(z * weight).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            shape, rate = functional.softplus(encoder(x)).chunk(2, -1)
            pyro.sample("z", dist.Gamma(1.0 + shape, 0.5 + rate).to_event(1))

    def truth() -> Array:
        weight, counts = np.logaddexp(0, array(loading)), array(x)
        total, everything = counts.sum(-1), weight.sum()
        split = gammaln(total + 1) - gammaln(counts + 1).sum(-1) + (counts * np.log(weight / everything)).sum(-1)
        return split + nbinom(1.5, 0.7 / (0.7 + everything)).logpmf(total)

    return Structure("Poisson factors with gamma weights", "positive latent, gamma guide", model, guide, (x,), truth)


class SingleCell(nn.Module):
    """Counts of genes: cell state, library size, batch of the experiment, negative binomial counts."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Sequential(nn.Linear(1 + 2, 8), nn.ReLU(), nn.Linear(8, WORDS), nn.Softmax(-1))
        self.encoder = nn.Linear(WORDS + 2, 4)
        self.log_theta = nn.Parameter(torch.zeros(WORDS))

    def model(self, x: Tensor, batch: Tensor) -> None:
        pyro.module("scvi", self)
        with pyro.plate("cells", len(x)), pyro.poutine.scale(scale=1.0):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), torch.ones(1)).to_event(1))
            library = pyro.sample("library", dist.LogNormal(torch.tensor([2.0]), torch.tensor([0.5])).to_event(1))
            covariate = functional.one_hot(batch, 2).float().expand(z.shape[:-1] + (2,))
            mean = library * self.decoder(torch.cat([z, covariate], -1))
            theta = self.log_theta.exp()
            logits = (mean + 1e-6).log() - theta.log()
            pyro.sample("x", dist.NegativeBinomial(total_count=theta, logits=logits).to_event(1), obs=x)

    def guide(self, x: Tensor, batch: Tensor) -> None:
        with pyro.plate("cells", len(x)):
            features = torch.cat([torch.log1p(x), functional.one_hot(batch, 2).float()], -1)
            loc, scale, library_loc, library_scale = self.encoder(features).chunk(4, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))
            library = dist.LogNormal(2.0 + library_loc, functional.softplus(library_scale) + 0.1)
            pyro.sample("library", library.to_event(1))


def single_cell() -> Structure:
    x, batch, pair = torch.poisson(torch.full((DOCUMENTS, WORDS), 1.5)), torch.arange(DOCUMENTS) % 2, SingleCell()

    def truth() -> Array:
        points, weights = normal_grid(2, 121, 7.0)
        labels, theta = np.eye(2)[batch.numpy()], np.exp(array(pair.log_theta))
        first, last = pair.decoder[0], pair.decoder[2]
        z = np.broadcast_to(points[:, None, :1], (len(points), len(x), 1))
        inputs = np.concatenate([z, np.broadcast_to(labels, (len(points), *labels.shape))], -1)
        hidden = np.maximum(inputs @ array(first.weight).T + array(first.bias), 0)
        profile = np.exp(log_softmax(hidden @ array(last.weight).T + array(last.bias), -1))
        mean = np.exp(2.0 + 0.5 * points[:, 1])[:, None, None] * profile + 1e-6
        return log_mean(weights, nbinom(theta, theta / (theta + mean)).logpmf(array(x)).sum(-1))

    return Structure(
        "single-cell counts",
        "`model(x, batch)` with integer batches, log-normal library size, plate `cells`",
        pair.model,
        pair.guide,
        (x, batch),
        truth,
    )


STRUCTURES = (
    product_of_experts,
    topic_proportions,
    topics_of_words,
    words_of_documents,
    latent_dirichlet_allocation,
    gamma_factors,
    single_cell,
)
