"""`inferencehub replay`: sends recorded calls again and compares. Imports `core` alone; the command line imports it."""
