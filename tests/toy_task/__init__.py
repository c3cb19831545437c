"""A task that the program does not have: its record, its training half, and the one import that registers it.

`site/` on PYTHONPATH registers it in child processes too.
"""
