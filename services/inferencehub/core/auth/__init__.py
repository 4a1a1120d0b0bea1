"""Who calls, and what they may: callers, API keys, limits, the files that have them, and who is refused; both tiers and the command line import it, it imports `files`, `audit` and `values`."""
