"""Registers the toy task in every Python process that has this folder on its path."""

from adamss_core.spec.tasks import register
from tests.toy_task.record import RECORDS

register(RECORDS)
