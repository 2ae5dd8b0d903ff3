"""Searches for the best member of a guide's family, over random models whose best member an exhaustive search knows."""
