"""Random small programs measured by every method, and by an interpreter written in NumPy."""
