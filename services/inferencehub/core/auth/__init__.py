"""Who calls, and what they may: callers, API keys and the file that names them, who is refused; both tiers and the command line import it, it imports `files`, `audit` and `values`."""
