"""log p(x): estimators, bounds and errors."""
