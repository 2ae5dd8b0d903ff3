"""What a bracket costs beside the lower bound alone."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import torch

from benchmarks.coverage.guides import Guide, good
from benchmarks.coverage.oracles import Bits, LinearGaussian
from benchmarks.coverage.rates import Rate

__all__ = ["MOST", "prices"]

MOST = 3.0
"""Most times the processor time of the lower bound."""

CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("importance", {"draws": 100}),
    ("importance", {"draws": 1000}),
    ("psis", {"draws": 1000}),
    ("annealing", {"draws": 8, "temperatures": 50}),
    ("best_member", {"draws": 200}),
)


def prices(repeats: int = 3) -> Iterator[Rate]:
    """Ratio of the processor time of a measurement with its bracket to that of the bound without prior and check."""
    import ppl_vae as pv

    for model in (LinearGaussian(0), Bits(0, 6)):
        guide = Guide(model, good)
        for method, options in CASES:
            for data in (1, 20, 200):
                if data > 40 and method not in ("importance", "psis"):
                    continue
                x, plain = model.data(data), {"check": False}
                if method in ("importance", "psis"):
                    plain["prior_share"] = 0.0

                def bound() -> None:
                    pv.measure(model.model, guide, x, method=method, **options, **plain)  # noqa: B023

                def bracket() -> None:
                    pv.measure(model.model, guide, x, method=method, **options).bracket()  # noqa: B023

                bound()  # the first run finds the layout of the programs
                low, high = _seconds(bound, repeats), _seconds(bracket, repeats)
                name = f"{method}, {options['draws']} draws, {data} data of {type(model).__name__}"
                yield Rate(
                    f"{name}: bracket at most {MOST:g} times the lower bound",
                    int(high <= MOST * low),
                    1,
                    note=f"{1000 * low:.0f} ms and {1000 * high:.0f} ms, {high / low:.2f} times",
                )


def _seconds(run: Callable[[], None], repeats: int) -> float:
    """Median processor time of a run."""
    times = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(repeats):
            torch.manual_seed(seed)
            start = time.process_time()
            run()
            times.append(time.process_time() - start)
    return median(times)
