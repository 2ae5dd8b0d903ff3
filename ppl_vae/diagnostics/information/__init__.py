"""Rate, distortion and mutual information."""
