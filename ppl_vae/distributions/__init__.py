"""Distributions that Pyro lacks, and exponential families."""

from __future__ import annotations

from ppl_vae.distributions.multinomial import PackedMultinomial

__all__ = ["PackedMultinomial"]
