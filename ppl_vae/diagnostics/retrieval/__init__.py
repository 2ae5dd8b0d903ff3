"""Semantic hashing: codes and retrieval."""
