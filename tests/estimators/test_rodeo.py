"""RODEO: its closed form is the Stein operator written out over all neighbours."""

import numpy as np
import pytest
import torch

from ppl_vae.estimators import Code
from ppl_vae.estimators.rodeo import RODEO
from tests.support.estimator_checks import Given

pytestmark = pytest.mark.usefixtures("float64")


def gibbs(h, z, mean):
    """(A h)(z) of the sampler that draws one of the bits, chosen at random, again: a sum over one-bit neighbours."""
    change = 0.0
    for bit in range(len(z)):
        other = z.copy()
        other[bit] = 1 - other[bit]
        change = change + (mean[bit] if other[bit] else 1 - mean[bit]) * (h(other) - h(z))
    return change / len(z)


def written_out(codes, values, slopes, logits):
    mean, (draws, bits) = 1 / (1 + np.exp(-logits)), codes.shape
    surrogates = [
        lambda z, s=s: (np.delete(slopes, s, 0).mean(0) * (z - mean)).sum()  # of the other draws
        for s in range(draws)
    ]
    first = [values[s] + bits * gibbs(surrogates[s], codes[s], mean) for s in range(draws)]
    total = np.zeros(bits)
    for s in range(draws):
        second = gibbs(lambda z, h=surrogates[s]: h(z) * (z - mean), codes[s], mean)
        total += (values[s] - np.mean(np.delete(first, s))) * (codes[s] - mean) + bits / 2 * second
    return total / draws


@pytest.mark.parametrize(("draws", "bits"), [(2, 1), (2, 4), (5, 3)])
def test_the_closed_form_is_the_operator_over_neighbours(draws, bits):
    random = np.random.default_rng(bits)
    logits, codes = random.normal(size=bits) * 2, random.integers(0, 2, (draws, bits)).astype(float)
    values, slopes = random.normal(size=draws), random.normal(size=(draws, bits))
    code = Code(torch.tensor(codes)[:, None], torch.zeros(draws, 1, bits), torch.tensor(logits)[None])
    given = Given(values=torch.tensor(values)[:, None], slopes=torch.tensor(slopes)[:, None])
    expected = torch.tensor(written_out(codes, values, slopes, logits))[None]
    torch.testing.assert_close(RODEO().gradient(code, given), expected)
