"""HTTP/1.1: server, connections, bodies, answers, and an adapter for ASGI. Any tier may import it; it imports core."""
