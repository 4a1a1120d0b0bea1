"""`inferencehub new`: a model to begin with. Each `.txt` file is a template; imports core alone, and the command uses it."""
