"""Random programs, measured by the automatic choice and by an interpreter in NumPy; more in benchmarks/metatest."""

from dataclasses import replace

import numpy as np
from scipy import stats

from benchmarks.metatest.comparison import Comparison
from benchmarks.metatest.description import Description, Site, descriptions, for_each
from benchmarks.metatest.oracle import evidence_and_bound
from benchmarks.metatest.programs import data_of

PROGRAMS = 500


def test_nothing_called_exact_is_wrong_no_lower_bound_lies_above_the_truth_and_no_program_is_refused():
    """Programs with at most one continuous number and few states, all measured by ``auto``, some by every method.

    One test, so that one worker measures them, once.
    """
    comparison = Comparison(annealed=0, others=20)
    for_each(descriptions(axes=1, most_cells=250), PROGRAMS, comparison.add)
    assert comparison.wrong == []
    assert comparison.programs >= PROGRAMS
    kinds = {name.split(":")[0] for name, count in comparison.methods.items() if count}
    assert kinds >= {"auto", "enumeration", "quadrature", "mixed", "importance", "mixed_importance"}
    assert comparison.methods["auto: exact"] > PROGRAMS / 3
    score, where = comparison.worst
    assert score < comparison.limit, where
    # Single methods may find during a measurement that they cannot measure; the automatic choice goes on to others.
    methods = ("quadrature", "mixed", "enumeration", "closed_form", "importance", "psis", "mixed_importance")
    assert [reason for reason in comparison.refused if not reason.startswith(methods)] == []
    assert comparison.refused.total() < 0.05 * PROGRAMS


def test_the_interpreter_agrees_with_closed_forms():
    number = Site("z", "normal", shape=(0.8, 1.0), intercept=0.3, offsets=(0.2,))
    seen = Site("x", "normal", 2, shape=(0.6, 1.0), weights={"z": 1.5}, offsets=(0.0, 0.5), columns=(0, 1))
    program = Description("data", False, (), (number,), (seen,), (number,), False, 3, 0)
    x = data_of(program).double().numpy()
    covariance = 1.5**2 * 0.8**2 * np.ones((2, 2)) + 0.36 * np.eye(2)
    truth = stats.multivariate_normal([0.75, 1.25], covariance).logpdf(x)
    np.testing.assert_allclose(evidence_and_bound(program, x)[0], truth, atol=1e-9)

    bits = Site("z", "bernoulli", 2, intercept=0.4, offsets=(0.0, -1.0))
    counts = Site("x", "poisson", weights={"z": 1.0}, columns=(0,))
    guess = replace(bits, intercept=-0.3)
    program = Description("data", False, (), (bits,), (counts,), (guess,), False, 3, 0)
    x = data_of(program).double().numpy()
    evidence, bound = evidence_and_bound(program, x)
    terms, shares = [], []
    for one in (0, 1):
        for other in (0, 1):
            logits = np.array([0.4, -0.6])
            code = np.array([one, other])
            prior = stats.bernoulli(1 / (1 + np.exp(-logits))).logpmf(code).sum()
            terms.append(prior + stats.poisson(np.exp(np.tanh(code.mean()))).logpmf(x[:, 0]))
            shares.append(stats.bernoulli(1 / (1 + np.exp(0.7 - logits))).pmf(code).prod())
    np.testing.assert_allclose(evidence, np.logaddexp.reduce(terms, 0), atol=1e-12)
    expected = sum(q * (term - np.log(q)) for q, term in zip(shares, terms, strict=True))
    np.testing.assert_allclose(bound, expected, atol=1e-12)
