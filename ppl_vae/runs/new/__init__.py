"""Files of a pair to begin with."""
