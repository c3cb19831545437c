"""Job states, wake-up hints and webhooks."""
