"""Tables and figures of papers, one per file."""
