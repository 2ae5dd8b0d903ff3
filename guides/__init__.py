"""Amortised guides, one per file."""
