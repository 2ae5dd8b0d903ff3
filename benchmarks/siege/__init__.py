"""Damaged files for every reader and for the files of a run: each is read right or refused in words."""
