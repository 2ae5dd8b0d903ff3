"""Methods that measure the evidence, one file each."""
