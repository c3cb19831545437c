"""Live stream of a job as server-sent events."""
