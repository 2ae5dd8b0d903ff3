"""Whether a guide puts its mass where the posterior has its own, on data simulated from the model."""
