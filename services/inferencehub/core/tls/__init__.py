"""TLS of this process's ports: certificates that are read again when their files change, and handshakes; servers import it, it imports `files` and `values`."""
