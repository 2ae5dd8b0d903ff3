r"""Gradient estimators through discrete latents: gradient estimates from the values of f at coupled samples.

All estimate :math:`\nabla_\eta\, \mathbb{E}_{q_\eta(z)} f(z)` for bits with logits :math:`\eta`. They know
nothing of Pyro; :class:`ppl_vae.objectives.elbo.DiscreteELBO` brings them to Pyro's models. Each file of this folder
holds one estimator, and its name is the one users type; so does each file of ``estimators/`` in the working folder.
"""

from __future__ import annotations

from ppl_vae.estimators.base.estimator import Code, Estimator
from ppl_vae.estimators.base.first_order import FirstOrder
from ppl_vae.estimators.base.integrand import Integrand, estimate

__all__ = ["Code", "Estimator", "FirstOrder", "Integrand", "estimate"]
