"""Child processes: environment, limits, end."""
