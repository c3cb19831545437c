"""Child processes: environment, limits, termination."""
