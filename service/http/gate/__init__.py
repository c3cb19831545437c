"""Checks of every request, before any code of its route runs."""
