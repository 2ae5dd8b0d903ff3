"""Evidence methods that search for the best members of the guide's family, one a file."""
