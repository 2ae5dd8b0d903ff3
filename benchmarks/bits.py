"""Gradient estimators of bits under a small network: ``python -m benchmarks.bits`` fills in the table of the manual.

The races of :mod:`benchmarks.categorical`, with 20 bits: the noise of one gradient of the guide early and late in a
training, and the negative ELBO of held out data after as many epochs, and as many seconds, as the default takes.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import click
import pyro
import torch

from benchmarks.categorical import data, noise, race
from benchmarks.steps import NATURAL, POSITIVE
from benchmarks.stored import fill_page, keep, read
from ppl_vae.programs.random_state import fork_random_state

__all__ = ["PAGE", "measure", "page"]

PAGE = Path(__file__).parents[1] / "docs" / "estimators.md"
BITS, COUNT = 20, 2000
BEFORE = (10, 60)
"""Epochs before the noise is taken, early and late."""
DEFAULT = (
    "disarm+first_order:1 disarm:2 loo:4 arms:4 arms+first_order:4 bitflip:2 double_cv:2 double_cv:4 rodeo:2 rodeo:4 "
    "rebar:1 rebar:2 relax:2 relax:4 local:1"
)


def measure(
    specs: list[str],
    seeds: int,
    epochs: int,
    repeats: int,
    before: tuple[int, int] = BEFORE,
    bits: int = BITS,
    count: int = COUNT,
) -> list[dict[str, Any]]:
    """Noise and race of estimators: a row of each, with the noise that another batch makes last.

    Arguments:
        specs: ``NAME[+first_order][:DRAWS]``; the first sets the time.
        seeds: Of the race.
        epochs: Of the race.
        repeats: Gradients of each estimator whose noise is taken.
        before: Epochs of training before that, early and late.
        bits: Length of the code.
        count: Training data; half as many are held out.
    """
    every = data(count + count // 2, bits, 2, seed=0)
    x, held_out, shape = every[:count], every[count:], (bits, 2)
    with pyro.validation_enabled(False), fork_random_state(0):
        early, late = (noise(specs, repeats, number, x, shape) for number in before)
        rows = [
            one | {"late": {k: two[k] for k in two if k.startswith("noise")}}
            for one, two in zip(early, late, strict=True)
        ]
        raced = race(specs, seeds, epochs, x, held_out, shape)
    return [row | one for row, one in zip(rows, raced, strict=False)] + rows[-1:]


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of the manual."""
    seconds = f"in the seconds of `{rows[0]['estimator']}`"
    lines = [
        f"| estimator | noise, early | late | time (quartiles) | after all epochs | {seconds} |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "seeds" not in row:
            lines.append(f"| {row['estimator']} | {row['noise']:.3f} | {row['late']['noise']:.3f} | | | |")
            continue
        low, high = row["time_quartiles"]
        cells = [f"{each['noise']:.3f} ± {each['noise_se']:.3f}" for each in (row, row["late"])]
        cells += [f"{row['time']:.2f} ({low:.2f}-{high:.2f})"]
        cells += [_over_seeds(row, "same_epochs"), _over_seeds(row, "same_seconds")]
        lines.append(f"| {row['estimator']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _over_seeds(row: dict[str, Any], key: str) -> str:
    values = [seed[key] for seed in row["seeds"]]
    return f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def page() -> str:
    """The manual's page with the table of the stored result."""
    return fill_page(PAGE.read_text(encoding="utf-8"), "bits", markdown(read("bits")["rows"]))


@click.command()
@click.option("--seeds", default=3, show_default=True, type=POSITIVE, help="Of the race.")
@click.option("--epochs", default=40, show_default=True, type=POSITIVE, help="Of the race.")
@click.option("--repeats", default=100, show_default=True, type=NATURAL, help="Gradients an estimator.")
@click.option("--estimators", default=DEFAULT, show_default=True, help="NAME[+first_order][:DRAWS], with spaces.")
def main(seeds: int, epochs: int, repeats: int, estimators: str) -> None:
    """Measures estimators of bits, stores the result and writes its table into the manual."""
    torch.set_num_threads(1)  # time is counted by the core
    pyro.settings.set(module_local_params=True)
    keep("bits", measure(estimators.split(), seeds, epochs, repeats))
    PAGE.write_text(page(), encoding="utf-8")
    print(markdown(read("bits")["rows"]))


if __name__ == "__main__":
    main()
