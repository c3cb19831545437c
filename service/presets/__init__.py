"""Presets: good values under a name, of each kind of job and of a project's own."""
