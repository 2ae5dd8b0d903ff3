"""How often intervals and warnings of the evidence are right, against oracles written without this package."""
