"""Celery transports that drop malformed messages."""
