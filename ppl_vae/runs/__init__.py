"""One run: from a configuration to a trained pair, and its measurements."""
