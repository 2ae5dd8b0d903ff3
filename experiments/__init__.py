"""Tables and figures of papers, one a file."""
