"""The command line: `adamss`. Nothing heavy is imported before a command needs it."""
