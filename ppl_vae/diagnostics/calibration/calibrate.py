"""Calibration of a guide by data simulated from its model."""

from __future__ import annotations

import torch

from ppl_vae.data.inputs import as_batch
from ppl_vae.diagnostics.calibration.ranks import places
from ppl_vae.diagnostics.calibration.result import Calibration, tests_of
from ppl_vae.evidence.as_written import as_written
from ppl_vae.programs.types import Program, Progress

__all__ = ["calibrate"]


def calibrate(
    model: Program,
    guide: Program,
    *data: object,
    simulated: int = 1000,
    draws: int = 99,
    progress: Progress | None = None,
) -> Calibration:
    r"""Tests whether q(z | x) puts its mass where the posterior has its own, on data simulated from the model.

    The latents that a datum was simulated from are a sample of its posterior, which a calibrated guide cannot tell from
    its own samples: the place of one among the others is uniform. Tested are

    - the rank of each number of each latent (Talts et al. 2018), and of log p(x | z) and log p(x, z), which show a
      guide that disregards the data (Modrák et al. 2023). Ties are taken in random order, so that ranks of bits and
      categories are exactly uniform, too;
    - the probability integral of each bit under the guide, given the bits before it, randomised between the two values;
    - the distance from a random reference point, drawn from the prior: the share of data whose true latents are nearer
      to it than a share :math:`\alpha` of the guide's samples is :math:`\alpha` (TARP, Lemos et al. 2023). Distances
      are mean squares of standardised numbers, and shares of bits and categories that differ (Hamming), added.

    Each is compared with the diagonal by a test that is exact for any number of data
    (:mod:`~ppl_vae.diagnostics.calibration.uniformity`), and all p-values are corrected together (Holm): a calibrated
    guide is called miscalibrated, in anything, with a probability of at most 5%.

    A guide that is off in another direction for each datum appears as too narrow. That nothing is found does not show
    that the guide is calibrated, and nothing is said of data that the model does not generate.

    Arguments:
        model: The generative model, which observes fields of the data.
        guide: Its guide.
        data: Data as of :func:`~ppl_vae.evidence.measure.measure`: simulated data take their shapes (documents: their
            lengths) and what the model does not observe.
        simulated: Number of simulated data; the given ones are taken in turn.
        draws: Samples of the guide per simulated datum.
        progress: Called with the number of samples done since the last call.

    Returns:
        A :class:`~ppl_vae.diagnostics.calibration.result.Calibration`.

    Raises:
        ValueError: If there are no data, the numbers are too small, the model draws no data of its own, or a latent is
            shared by all data or masked, naming the site.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Bernoulli(0.5))
        ...         pyro.sample("x", dist.Normal(z, 0.5), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Bernoulli(logits=12 * (x - 0.5)))  # three times too sure
        >>> calibrate(model, guide, torch.zeros(10)).verdict
        'the guide is miscalibrated: z is too narrow...'
    """
    x = as_batch(*data)
    if len(x) == 0:
        raise ValueError("there are no data whose shape simulated data could have")
    if simulated < 2 or draws < 1:
        raise ValueError(
            f"calibration needs at least 2 simulated data and 1 draw of the guide for each, got {simulated} and "
            f"{draws}; take 1000 and 99"
        )

    def measured(progress: Progress) -> Calibration:
        with torch.no_grad():
            found = places(model, guide, x[torch.arange(simulated, device=x.device) % len(x)], draws, progress)
        sizes = {name: len(units) for name, units in found.names.items()}
        return Calibration(tests_of(list(found.quantities())), draws, sizes)

    return as_written("the calibration", model, guide, x, measured, progress)
