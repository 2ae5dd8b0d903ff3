"""Generative models, one a file."""
