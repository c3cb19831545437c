"""Parts shared by API, worker and command line; nothing here knows HTTP."""
