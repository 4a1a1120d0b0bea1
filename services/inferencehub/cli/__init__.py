"""The command `inferencehub`, a file a command. It may import core and a tier's settings; no tier imports it."""
