"""Whether the mean of every gradient estimator is the gradient, over random models."""
