"""Who calls, and what they may: callers, API keys and the file that names them; fronts and the command line import it, it imports `files` and `values`."""
