"""The command line, `adamss`. Commands import heavy modules inside their functions."""
