"""Codes of a channel as probability tables: rate, distortion and information, exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.distributions.tables import entropy, mutual_information

__all__ = ["exact", "ideal", "optimal_codes"]


def exact(law: Tensor, encoder: Tensor, marginal: Tensor, decoder: Tensor) -> dict[str, float]:
    r"""Returns rate, distortion and information of tables under a true process :math:`p^*(z^*, x)`.

    The states of z are assigned to the bit they more probably come from; "distance" is the total variation between
    :math:`p^*(z^*, x)` and the model's :math:`\sum_{z \in c} m(z)\, d(x \mid z)`.

    Arguments:
        law: The true process, ``(2, levels)``.
        encoder: e(z given x), ``(levels, states)``.
        marginal: m(z), ``(states,)``.
        decoder: d(x given z), ``(states, levels)``.

    Returns:
        ``"rate"``, ``"distortion"``, ``"ELBO"``, ``"I(x; z)"`` and ``"I(z; true bit)"`` in nats, and ``"distance"``.
    """
    data = law.sum(0)
    joint = data[:, None] * encoder
    rate = torch.where(joint > 0, joint * (encoder / marginal).clamp(min=1e-300).log(), 0).sum().item()
    distortion = -torch.where(joint > 0, joint * decoder.T.clamp(min=1e-300).log(), 0).sum().item()
    sent = law @ encoder
    assigned = torch.nn.functional.one_hot(sent.argmax(0), 2).to(law)
    modelled = assigned.T @ (marginal[:, None] * decoder)
    return {
        "rate": rate,
        "distortion": distortion,
        "ELBO": -rate - distortion,
        "I(x; z)": mutual_information(joint),
        "I(z; true bit)": mutual_information(sent),
        "distance": 0.5 * (modelled - law).abs().sum().item(),
    }


def ideal(law: Tensor, encoder: Tensor) -> dict[str, float]:
    """Returns :func:`exact` of an encoder with the marginal and the decoder that are best for it."""
    joint = law.sum(0)[:, None] * encoder
    marginal = joint.sum(0)
    return exact(law, encoder, marginal, (joint / marginal.clamp(min=1e-300)).T)


def optimal_codes(law: Tensor, information: float) -> dict[str, dict[str, float]]:
    """Returns :func:`ideal` of four codes that maximise the ELBO, at different rates.

    They say nothing of x, the bit of the true process, x itself but for erasures, and x itself.

    Arguments:
        law: The true process, ``(2, levels)``.
        information: Rate of the erasure, in nats.
    """
    data = law.sum(0)
    levels = len(data)
    share = information / entropy(data)
    erased = torch.cat([share * torch.eye(levels).to(law), (1 - share) * torch.ones(levels, 1).to(law)], 1)
    return {
        "nothing": ideal(law, torch.ones(levels, 1).to(law)),
        "true process": ideal(law, (law / data).T),
        "erasure": ideal(law, erased),
        "all": ideal(law, torch.eye(levels).to(law)),
    }
