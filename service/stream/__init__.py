"""Live data of a job as server-sent events."""
