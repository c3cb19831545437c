"""The Python client of the service. Needs httpx and the standard library, nothing else of ours."""

from service.client.client import Client
from service.client.errors import ApiError, Unreachable

__all__ = ["ApiError", "Client", "Unreachable"]
