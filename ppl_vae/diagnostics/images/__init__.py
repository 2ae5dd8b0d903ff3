"""Image quality: Frechet distance and scale collapse."""
