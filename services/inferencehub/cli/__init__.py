"""The command `inferencehub`: one file for each subcommand. It may import core and the tiers' settings; no tier imports it."""
