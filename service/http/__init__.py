"""The HTTP service: app, routes, and the gate in front of them."""
