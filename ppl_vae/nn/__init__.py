"""Neural networks, learned priors, observation noise and checkpoints."""
