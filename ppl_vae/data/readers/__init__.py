"""Readers of named corpora and of file formats, one file each."""
