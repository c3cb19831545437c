"""Checks around every request, in the order in which a request meets them."""
