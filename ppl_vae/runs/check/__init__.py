"""What training and measuring ask of a pair, looked at before an epoch is spent."""
