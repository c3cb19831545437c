"""Operator's tools: backup, doctor, export to trackers."""
