"""Forms of files under siege, one file for each reader or kind of file of a run."""
