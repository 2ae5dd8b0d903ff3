"""Diagnostics: why a bound is not tight, and what the code encodes."""
