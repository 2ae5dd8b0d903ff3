"""How noisy each gradient estimator is, against the enumerated gradient of a partly trained text model.

    python -m benchmarks.estimators --corpus docstrings --bits 8

Prints, for the logits' gradient (all parameters of the guide), the root mean square error of one estimate over the
norm of the exact gradient, at one and at several draws, with the evaluations of the decoder each takes.
"""

from __future__ import annotations

import json

import click
import torch
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.text import Text
from rich.console import Console
from rich.table import Table

from ppl_vae.choice import make_estimator
from ppl_vae.corpora import load_corpus
from ppl_vae.estimators import ESTIMATORS, FirstOrder
from ppl_vae.objectives import DiscreteELBO
from ppl_vae.pairs import facts


@click.command()
@click.option("--corpus", default="docstrings", show_default=True)
@click.option("--vocabulary", default=2000, show_default=True)
@click.option("--bits", default=8, show_default=True, help="At most 12: the reference enumerates.")
@click.option("--epochs", default=5, show_default=True, help="Of training before measuring.")
@click.option("--repeats", default=200, show_default=True, help="Gradient estimates an estimator.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
def main(corpus: str, vocabulary: int, bits: int, epochs: int, repeats: int, as_json: bool) -> None:
    """Print the gradient noise of every estimator."""
    torch.manual_seed(0)
    x = load_corpus(corpus, vocabulary=vocabulary).train
    model = Text(**facts(x), bits=bits)
    guide = LinearCounts(model, x[:2])
    loss = DiscreteELBO()(model, guide)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-3)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(256):
            optimizer.zero_grad()
            (loss(x[part]) / len(part)).backward()
            optimizer.step()
    batch = x[:256]

    def gradient(objective: DiscreteELBO) -> torch.Tensor:
        loss = objective(model, guide)(batch) / len(batch)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(guide.parameters()))])

    exact = gradient(DiscreteELBO("enumerate"))
    rows = []
    for name in (name for name, kind in ESTIMATORS.items() if not kind.exact):
        for control in (False, True):
            for draws in (1, 5):
                estimator = make_estimator(name, control)
                # At equal cost: leave-one-out takes as many independent draws as the others take pairs' halves.
                count = 2 * draws if name == "loo" else draws
                objective = DiscreteELBO(estimator, draws=count)
                squares = torch.stack([(gradient(objective) - exact).square().sum() for _ in range(repeats)])
                noise = (squares.mean().sqrt() / exact.norm()).item()
                error = (squares.std() / repeats**0.5 / (2 * squares.mean().sqrt()) / exact.norm()).item()
                cost = estimator.rows(count) + isinstance(estimator, FirstOrder)
                rows.append({"estimator": estimator.name, "evaluations": cost, "noise": noise, "noise_se": error})
    rows.sort(key=lambda row: (row["evaluations"] > 5, -row["noise"]))
    if as_json:
        click.echo(json.dumps({"bits": bits, "corpus": corpus, "rows": rows}, indent=2))
        return
    table = Table(title=f"Gradient noise over gradient norm: {corpus}, {vocabulary} words, {bits} bits, batch of 256")
    for column in ("estimator", "decoder evaluations", "noise / norm"):
        table.add_column(column, justify="left" if column == "estimator" else "right")
    for row in rows:
        table.add_row(row["estimator"], str(row["evaluations"]), f"{row['noise']:.3f} +- {row['noise_se']:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
