"""Paths of the service's files; no other module joins them."""
