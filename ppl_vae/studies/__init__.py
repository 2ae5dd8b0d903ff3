"""Many runs: experiments, sweeps and their reports."""
