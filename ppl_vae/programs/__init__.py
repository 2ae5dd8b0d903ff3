"""Pyro models and guides, run for many draws at once."""
