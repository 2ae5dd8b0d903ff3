"""Distributions that Pyro lacks, and exponential families."""
