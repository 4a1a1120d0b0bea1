"""`inferencehub image` and `inferencehub values`: what a cluster needs to serve models. Imports core, the configuration's messages, settings and what checks models; the command uses it."""
