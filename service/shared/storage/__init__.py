"""Files of the service: the one place that knows where each lies."""
