"""The documentation as a site: what is generated from the code, the figures, the notebooks and the build."""
