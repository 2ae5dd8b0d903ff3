"""Whether the defaults train: the ELBO of test data beside a baseline and a plain PyTorch VAE of the same size.

``python -m benchmarks.defaults`` prints one row per data set, the range over two seeds, and stores it in
``benchmarks/results/defaults.json``, in the place of an older one (``python -m website.tables`` writes the table).
The baseline has no latents: word frequencies of the training documents, or a normal or Bernoulli for each number. The
plain VAE is written here: the same decoder, widths, epochs and batches, Adam at the same rate, ReLU layers, the rate in
closed form. It reads frequencies in per cent, or numbers less their mean and over their standard deviation.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.distributions import kl_divergence

import ppl_vae as pv
from benchmarks.stored import commit, keep, read
from ppl_vae.data.corpus import Corpus
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch
from ppl_vae.data.load import load_corpus
from ppl_vae.data.memory import corpus_of
from ppl_vae.distributions.multinomial import PackedMultinomial
from ppl_vae.evidence.importance import sampled_elbo

LATENTS, WIDTH, DRAWS = 16, 256, 20


class Decoder(PyroModule):
    """Normal latents, one hidden layer, and words, bits, or normal numbers in their units, each with its own scale."""

    def __init__(self, kind: str, x: Batch) -> None:
        super().__init__()
        self.kind = kind
        size = x.vocabulary if isinstance(x, PackedCounts) else x[0].numel()
        self.hidden = nn.Sequential(nn.Linear(LATENTS, WIDTH), nn.Tanh())
        self.out = nn.Linear(WIDTH, size)
        self.log_scale = nn.Parameter(torch.zeros(size)) if kind == "numbers" else None
        if kind == "words":
            counts = dense(x).sum(0) + 1
            self.out.bias.data.copy_((counts / counts.sum()).log())
        if kind == "numbers":
            self.register_buffer("mean", dense(x).mean(0))
            self.register_buffer("scale", dense(x).std(0).clamp(min=1e-6))

    def likelihood(self, z: Tensor, x: Batch) -> Any:
        hidden = self.hidden(z)
        if isinstance(x, PackedCounts):
            return PackedMultinomial(x.lengths, hidden=hidden, weight=self.out.weight, bias=self.out.bias)
        out = self.out(hidden)
        if self.log_scale is None:
            return dist.Bernoulli(logits=out).to_event(1)
        return dist.Normal(self.mean + self.scale * out, self.scale * self.log_scale.exp()).to_event(1)

    def forward(self, x: Batch) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1))
            pyro.sample("x", self.likelihood(z, x), obs=x)


class Plain(nn.Module):
    """The encoder of the plain VAE, and as a guide for the same measurement."""

    def __init__(self, x: Batch) -> None:
        super().__init__()
        numbers = self.numbers(x)
        self.register_buffer("mean", numbers.mean(0))
        self.register_buffer("std", numbers.std(0).clamp(min=0.1 * float(numbers.std())))
        parts = [nn.Linear(numbers.shape[1], 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()]
        self.network = nn.Sequential(*parts, nn.Linear(512, 2 * LATENTS))

    def numbers(self, x: Batch) -> Tensor:
        return 100 * dense(x) / x.lengths[:, None].clamp(min=1) if isinstance(x, PackedCounts) else dense(x)

    def q(self, x: Batch) -> Any:
        numbers = self.numbers(x)
        numbers = numbers if isinstance(x, PackedCounts) else (numbers - self.mean) / self.std
        loc, log_scale = self.network(numbers).chunk(2, -1)
        return dist.Normal(loc, log_scale.exp()).to_event(1)

    def forward(self, x: Batch) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.q(x))


def dense(x: Batch) -> Tensor:
    """The data as a matrix."""
    return x @ torch.eye(x.vocabulary) if isinstance(x, PackedCounts) else x.reshape(len(x), -1)


def plain_elbo(kind: str, train: Batch, test: Batch, epochs: int, seed: int) -> float:
    """ELBO of test data after training by hand."""
    torch.manual_seed(seed)
    model, encoder = Decoder(kind, train), Plain(train)
    optimizer = torch.optim.Adam([*model.parameters(), *encoder.parameters()], lr=1e-3)
    prior = dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1)
    with pyro.validation_enabled(False):
        for _ in range(epochs):
            for rows in torch.randperm(len(train)).split(256):
                x = train[rows]
                q = encoder.q(x)
                loss = (kl_divergence(q, prior) - model.likelihood(q.rsample(), x).log_prob(x)).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return sampled_elbo(model, encoder, test, DRAWS).mean().item()


def baseline(kind: str, train: Batch, test: Batch) -> float:
    """Mean log-likelihood of test data without latents."""
    x, y = dense(train), dense(test)
    if isinstance(test, PackedCounts):
        counts = x.sum(0) + 1
        fn: Any = PackedMultinomial(test.lengths, logits=(counts / counts.sum()).log().expand(len(test), -1))
        return float(fn.log_prob(test).mean())
    if kind == "bits":
        fn = dist.Bernoulli((x.sum(0) + 0.5) / (len(x) + 1)).to_event(1)
    else:
        fn = dist.Normal(x.mean(0), x.std(0).clamp(min=1e-6)).to_event(1)
    return float(fn.log_prob(y).mean())


def table(count: int, columns: int, *, heavy: bool = False) -> Tensor:
    """Points near a curved surface, in columns of very different location and scale."""
    generator = torch.Generator().manual_seed(count + columns)
    z = torch.randn(count, 3, generator=generator)
    x = torch.tanh(z @ torch.randn(3, 2 * columns, generator=generator)) @ torch.randn(
        2 * columns, columns, generator=generator
    )
    x = x + 0.3 * torch.randn(x.shape, generator=generator)
    x = x.sinh() if heavy else x
    return (x + 3) * torch.logspace(-3, 4, columns)


def data_sets(quick: bool) -> dict[str, tuple[str, Corpus]]:
    """Data sets by name, with the kind of their decoder; 20 Newsgroups and MNIST where ``PPL_VAE_DATA`` has them."""
    found: dict[str, tuple[str, Corpus]] = {
        "bars": ("bits", load_corpus("bars")),
        "table, 200 x 8": ("numbers", corpus_of(table(200, 8))),
        "table, 2,000 x 20": ("numbers", corpus_of(table(2000, 20))),
        "heavy tails, 2,000 x 20": ("numbers", corpus_of(table(2000, 20, heavy=True))),
    }
    if quick:
        return found
    found["docstrings"] = "words", load_corpus("docstrings", vocabulary=2000)
    found["table, 100,000 x 20"] = "numbers", corpus_of(table(100_000, 20))
    found["binary table, 5,000 x 50"] = "bits", corpus_of((table(5000, 50) > 3 * torch.logspace(-3, 4, 50)).float())
    try:
        digits = load_corpus("mnist").train.values[:5000]
        found["20 Newsgroups"] = "words", load_corpus("20news", vocabulary=2000)
    except (ValueError, OSError):
        return found
    assert isinstance(digits, Tensor)
    flat = digits.flatten(1)
    found["digits, 0/1"] = "bits", corpus_of((flat > 0.5).float())
    found["digits on white, 0/1"] = "bits", corpus_of((flat <= 0.5).float())
    noise = torch.rand(flat.shape, generator=torch.Generator().manual_seed(0))
    found["digits, bytes"] = "numbers", corpus_of(255 * flat + noise)
    found["digits on white, bytes"] = "numbers", corpus_of(255 * (1 - flat) + noise)
    return found


def compare(kind: str, corpus: Corpus, epochs: int, seeds: range) -> dict[str, Any]:
    """ELBO of at most 2,000 test data by the baseline, and of each seed by the plain VAE and by the defaults."""
    train, test = corpus.train.values, corpus.test.values[:2000]
    plain, ours = [], []
    for seed in seeds:
        plain.append(plain_elbo(kind, train, test, epochs, seed))
        torch.manual_seed(seed)
        options: dict[str, Any] = {"epochs": epochs, "patience": 0, "seed": seed, "device": "cpu"}
        options |= {"evidence_draws": 2, "evidence_data": 10}
        with tempfile.TemporaryDirectory() as folder:
            run = pv.train(Decoder(kind, train), "mean_field", corpus, out=Path(folder) / "r", **options)
            ours.append(sampled_elbo(run.model, run.guide, test, DRAWS).mean().item())
    return {"epochs": epochs, "baseline": baseline(kind, train, test), "plain": plain, "defaults": ours}


def store(row: dict[str, Any]) -> None:
    """Stores a row with its commit, in the place of the one of the same data."""
    rows = read("defaults").get("rows", [])
    rows = [row if old["data"] == row["data"] else old for old in rows] + [row] * (
        row["data"] not in [old["data"] for old in rows]
    )
    keep("defaults", rows)


def main() -> None:
    """Trains all pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four small data sets, three epochs, one seed; not stored")
    parser.add_argument("--only", metavar="TEXT", default="", help="data sets with this in their name")
    given = parser.parse_args()
    quick = given.quick
    print(f"{'data':26}{'baseline':>12}{'plain PyTorch':>26}{'defaults':>26}")
    for name, (kind, corpus) in data_sets(quick).items():
        if given.only not in name:
            continue
        epochs = 3 if quick else max(3, min(60, 80_000 // len(corpus.train.values)))
        row = compare(kind, corpus, epochs, range(1 if quick else 2))
        ranges = [f"{min(row[who]):.2f} to {max(row[who]):.2f}" for who in ("plain", "defaults")]
        print(f"{name:26}{row['baseline']:12.2f}{ranges[0]:>26}{ranges[1]:>26}", flush=True)
        if not quick:
            store({"data": name, "commit": commit()} | row)


if __name__ == "__main__":
    main()
