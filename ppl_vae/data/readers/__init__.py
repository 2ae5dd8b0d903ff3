"""One file a reader of a data format or a named corpus."""
