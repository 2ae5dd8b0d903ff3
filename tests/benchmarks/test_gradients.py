"""The bias test of gradient estimators on few random models; at full size it is ``python -m benchmarks.gradients``."""

import pyro
import pytest
from scipy import stats

from benchmarks.gradients.pairs import Pair
from benchmarks.gradients.table import markdown, run
from tests.support.z_test import FLAKES, TESTS


@pytest.mark.usefixtures("float64")
def test_mean_gradients_of_random_models_are_those_of_plain_sums():
    rows = [scores.summary() for scores in run(2, 100)]
    alarm = FLAKES / TESTS / (2 * len(rows))
    limit = stats.t(99).isf(alarm / 2 / 2)
    assert len(rows) >= 15
    for row in rows:
        assert row["models"] == 2, row
        assert row["error_without_noise"] < 1e-7
        for part in ("guide", "model"):
            if part in row:
                assert row[part]["worst"] < limit, row
    assert markdown(rows).count("\n") == len(rows) + 1


@pytest.mark.usefixtures("float64")
def test_the_sum_over_states_is_the_derivative_of_an_elbo_by_pyro():
    """Finite differences of the mean of Pyro's own samples' density ratio, over all states, at one parameter."""
    pair = next(
        p for p in map(Pair, range(100)) if not p.normal and p.states is None and p.beta == 1 and p.chained_prior
    )

    def elbo(name, shift):
        values = {n: v.clone() for n, v in pair.values.items()}
        values[name].view(-1)[0] += shift
        rows = {n: v.expand(2, *v.shape) for n, v in values.items()}
        model, guide = pair.programs(rows, 1)
        total = 0.0
        for state in pair._states():
            fixed = {f"z{i}": z.expand(2, -1) for i, z in enumerate(state)}
            traces = [
                pyro.poutine.trace(pyro.poutine.condition(program, fixed)).get_trace(pair.x, pair.at)
                for program in (guide, model)
            ]
            for trace in traces:
                trace.compute_log_prob()
            raw = sum(traces[0].nodes[n]["fn"].log_prob(fixed[n]) for n in fixed)
            parts = [sum(t.nodes[n]["log_prob"] for n in t.nodes if "log_prob" in t.nodes[n]) for t in traces]
            total = total + (raw.exp() * (parts[1] - parts[0])).sum()
        return total.item()

    exact = pair.gradient()
    for name in ("guide0", "prior0", "first"):
        numeric = -(elbo(name, 1e-5) - elbo(name, -1e-5)) / 2e-5
        assert exact[name].flatten()[0].item() == pytest.approx(numeric, rel=1e-5, abs=1e-7)
