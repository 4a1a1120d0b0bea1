"""A recorded call as a line of a file. Imports nothing of the package; the gateway writes such files, and `inferencehub replay` reads them."""
