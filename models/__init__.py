"""Generative models, one per file."""
