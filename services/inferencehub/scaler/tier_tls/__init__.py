"""The certificates that the tiers show to each other: made once, kept in Secrets, renewed in time; the server imports it."""
