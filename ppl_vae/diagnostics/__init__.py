"""What a number means: why a bound is not tight, and what a code carries."""
