"""The report of a run as one HTML page: what is shown, measured where it is missing, and how it is drawn."""
