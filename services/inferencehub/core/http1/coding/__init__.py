"""Content codings, gzip and deflate: bodies that come compressed, and answers that leave so. Imports `values` alone; the connection and handlers import it."""
