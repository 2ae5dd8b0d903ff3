"""Programs as users of Pyro write them, each with its data and, where there is one, the truth about its evidence."""
