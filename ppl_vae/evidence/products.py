r"""Log-densities of shared codes as small matrix products, for sums over very many of them.

.. math:: \log p(x_i, z_c) = a_c + b_i + u_c^\top v_i

Where every site of a program is of this form (bits, and documents whose words come from a last linear layer), codes
and data interact only in a product of two small matrices, and the sum over codes stays in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions import exponential_family
from ppl_vae.distributions.multinomial import PackedMultinomial
from ppl_vae.programs.handlers import Site, Sites, SubstituteLatents, run
from ppl_vae.programs.types import Program

__all__ = ["Products"]

TILE = 2**18
"""Number of (code, datum) cells computed together: 1 MB in float32, which a core's cache holds."""

SMALL = -80.0
"""Log-densities below it are raised to it: their exponentials are negligible, and denormal numbers are slow."""


class Products:
    """Sums over the codes of a pair whose log-densities are such matrix products, a block of codes at a time.

    Arguments:
        model: The model.
        guide: Its guide; None without the ELBO.
        x: The data.
        codes: Values of a few codes by site, ``(codes, 1, *event)``, with which the programs are inspected.

    Raises:
        ValueError: If the log-densities are of another form, or not finite.
    """

    def __init__(self, model: Program, guide: Program | None, x: Batch, codes: Mapping[str, Tensor]) -> None:
        self.model, self.x = model, x
        scored = self._run(model, codes)
        self.proposed = None if guide is None else self._run(guide, codes)
        if self.proposed is not None and any(_coupled(site) for site in self.proposed.values()):
            raise ValueError("the guide's parameters differ between codes")
        _finite(_code_side(scored))
        self.data, self.constant = _finite(_data_side(scored))
        self.evidence = torch.full_like(self.constant, -torch.inf)
        self.weighted, self.mass = torch.zeros_like(self.constant), torch.zeros_like(self.constant)
        if self.proposed is not None:
            _finite(_code_side(self.proposed))
            v, b = _finite(_data_side(self.proposed))
            self.parameters = torch.cat([v, b[:, None].to(v.dtype)], 1).to(self.data.dtype)

    def _run(self, program: Program, codes: Mapping[str, Tensor]) -> Sites:
        return run(program, (self.x,), {}, draws=len(next(iter(codes.values()))), handler=SubstituteLatents(codes))

    def add(self, codes: Mapping[str, Tensor]) -> None:
        """Adds a block of codes to the sums.

        Raises:
            ValueError: As the constructor.
        """
        u, a = _finite(_code_side(self._run(self.model, codes)))
        if self.proposed is not None:
            drawn = {name: site | {"value": codes[name]} for name, site in self.proposed.items()}
            bits, constant = (part.to(u.dtype) for part in _finite(_code_side(drawn)))
            bits = torch.cat([bits, torch.ones_like(bits[:, :1])], 1)
        step = max(1, TILE // len(u))
        for start in range(0, len(self.data), step):
            part = slice(start, start + step)
            joint = torch.addmm(a, self.data[part], u.T)
            if self.proposed is not None:
                proposal = torch.addmm(constant, self.parameters[part], bits.T)
                probability = proposal.clamp(min=SMALL).exp_()
                self.mass[part] += probability.sum(1)
                self.weighted[part] += proposal.neg_().add_(joint).mul_(probability).sum(1)
            high = joint.amax(1, keepdim=True)
            total = joint.sub_(high).clamp_(min=SMALL).exp_().sum(1).log_().add_(high[:, 0])
            self.evidence[part] = torch.logaddexp(self.evidence[part], total.to(self.evidence))

    def result(self) -> tuple[Tensor, Tensor]:
        """Returns evidence and ELBO of each datum, ``(data,)``, in nats."""
        # Probabilities add up to one up to rounding.
        return self.constant + self.evidence, self.constant + self.weighted / self.mass


def _code_side(sites: Mapping[str, Site]) -> tuple[Tensor, Tensor] | None:
    """Terms of the codes: u, ``(codes, features)``, and a, ``(codes,)``; None if a site is of another form.

    Arguments:
        sites: The sites of one run with codes of batch size 1, the same for all data.
    """
    features, constants = [], []
    for site in sites.values():
        fn, value = site["fn"], site["value"]
        if not _plain(site):
            return None
        if site["is_observed"]:
            code_features = fn.code_features() if isinstance(fn, PackedMultinomial) else None
            if code_features is None:
                return None
            features.append(code_features)
            continue
        logits = exponential_family.bit_logits(fn)
        if logits is None or value.shape[1] != 1:
            return None
        bits = value.reshape(len(value), -1)
        if _same_for_all_codes(logits):
            features.append(bits)
        elif logits.stride(1) == 0:
            parameters = logits[:1, 0] if logits.stride(0) == 0 else logits[:, 0]
            constants.append(-functional.softplus((1 - 2 * bits) * parameters).sum(-1))
        else:
            return None
    if not features:
        return None
    together = torch.cat(features, 1)
    return together, sum(constants, together.new_zeros(len(together)))


def _data_side(sites: Mapping[str, Site]) -> tuple[Tensor, Tensor]:
    """Terms of the data: v, ``(data, features)``, and b, ``(data,)``, of sites that have a code side."""
    features, constants = [], []
    for site in sites.values():
        if site["is_observed"]:
            v, b = site["fn"].document_features(site["value"])
        else:
            logits = exponential_family.bit_logits(site["fn"])
            assert logits is not None
            if not _same_for_all_codes(logits):
                continue
            v, b = logits[0], -functional.softplus(logits[0]).sum(-1)
        features.append(v)
        constants.append(b)
    return torch.cat(features, 1), torch.as_tensor(sum(constants))


def _finite(parts: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    if parts is None or not all(bool(part.isfinite().all()) for part in parts):
        raise ValueError("the log-densities are not finite products of codes and data")
    return parts


def _coupled(site: Site) -> bool:
    logits = exponential_family.bit_logits(site["fn"])
    return logits is None or logits.stride(0) != 0


def _plain(site: Site) -> bool:
    return site["mask"] is None and isinstance(site["scale"], float | int) and site["scale"] == 1


def _same_for_all_codes(logits: Tensor) -> bool:
    """Whether bits have parameters for each datum that are the same for all codes."""
    return logits.stride(0) == 0 and logits.stride(1) != 0
