"""Packed corpora: folders of arrays with a manifest, read from the disk as they are needed."""
