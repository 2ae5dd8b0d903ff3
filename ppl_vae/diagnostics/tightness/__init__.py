"""Whether the posterior lies in the guide's family."""
