"""Leave-one-out REINFORCE."""

import pytest
import torch

from ppl_vae.estimators import Code
from ppl_vae.estimators.loo import ReinforceLOO
from tests.support.estimator_checks import Given


def test_two_draws_left_out_of_each_other():
    code = Code(torch.tensor([[[1.0]], [[0.0]]]), torch.zeros(2, 1, 1), torch.zeros(1, 1))
    f = Given(values=torch.tensor([[4.0], [1.0]]))
    # (f1 - f2)/2 * score(1) + (f2 - f1)/2 * score(0) with scores 1/2 and -1/2.
    assert ReinforceLOO().gradient(code, f).item() == pytest.approx(1.5)
