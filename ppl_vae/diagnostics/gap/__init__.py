"""The gap between evidence and ELBO, split into its causes."""
