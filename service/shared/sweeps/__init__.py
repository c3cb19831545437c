"""Sweeps as API and worker see them: halving, and the table of trials."""
