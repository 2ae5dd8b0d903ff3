"""Readers of named corpora and of formats: a file of this folder is one by being there."""
