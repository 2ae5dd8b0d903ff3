"""log p(x): how probable the data are under a model, and how sure one may be of it."""
