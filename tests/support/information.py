"""A linear Gaussian pair, and tables of a guide of bits, for tests of information."""

import pyro
import pyro.distributions as dist
import torch

from ppl_vae.distributions.bits import bit_states
from ppl_vae.programs.log_weight import log_proposal


def table_of(guide, x, bits):
    """Log q(z | x) of all codes, ``(states, data)``."""
    return log_proposal(guide, x, {"z": bit_states(bits)[:, None]}).detach()


class Lines:
    """Normal latents, with a linear guide of constant noise: its aggregate is a mixture of Gaussians."""

    def __init__(self, size: int = 1, noise: float = 0.5, gain: float = 1.0) -> None:
        self.size, self.noise, self.gain = size, noise, gain

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.size), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.gain * x, self.noise).to_event(1))

    def full_guide(self, x):
        """The same density from a family that has no independent units."""
        with pyro.plate("data", len(x)):
            covariance = self.noise**2 * torch.eye(self.size)
            pyro.sample("z", dist.MultivariateNormal(self.gain * x, covariance))
