"""Engine, tables, clock and migration."""
