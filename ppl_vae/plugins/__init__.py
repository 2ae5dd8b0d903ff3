"""Finding what one file adds: models, guides, experiments, estimators, evidence methods and readers."""
