"""The processes of `inferencehub run`: their settings and ports, kept running, and replaced when models change. Imports core and the tiers' settings; commands use it."""
