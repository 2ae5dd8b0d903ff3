"""A file that adds an evidence method from outside the package."""

ADDED_METHOD = '''
"""A file outside the package."""

from dataclasses import dataclass

import torch

from ppl_vae.distributions.bits import bit_states
from ppl_vae.evidence.importance import with_sampled_bound
from ppl_vae.evidence.methods.base import EvidenceMethod
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.programs.log_weight import log_joint


@dataclass(frozen=True)
class Mine(EvidenceMethod):
    """Exact for one site of bits: a plain sum.

    Arguments:
        draws: Samples per datum of the ELBO.
        most: Most bits.
    """

    exact = True
    priority = 5
    most: int = 8

    def obstacle(self, model, x, sites):
        if len(sites) == 1 and sites[0].kind == "bits" and sites[0].size <= self.most:
            return None
        return f"site {sites[0].name!r} is not one of at most {self.most} bits"

    def cost(self, x, sites):
        return len(x)

    def measure(self, model, guide, x, sites, progress):
        codes = bit_states(sites[0].size)[:, None].expand(-1, len(x), -1).clone()
        values = log_joint(model, x, {sites[0].name: codes}).logsumexp(0)
        progress(len(x))
        return with_sampled_bound(Estimate(values, "mine", "exact"), model, guide, x, self.draws)
'''
