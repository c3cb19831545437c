"""Parts that API, worker and command line share. Knows no HTTP."""
