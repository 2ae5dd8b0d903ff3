"""Amortised guides, one a file."""
