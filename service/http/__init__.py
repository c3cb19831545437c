"""HTTP service: app, route policies, and the gate in front of the routes."""
