"""Runs jobs: claims them, supervises one training process each, reports, and sweeps up after the lost."""
