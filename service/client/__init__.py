"""Python client of the service; imports httpx and the standard library only."""

from service.client.client import Client
from service.client.errors import ApiError, Unreachable

__all__ = ["ApiError", "Client", "Unreachable"]
