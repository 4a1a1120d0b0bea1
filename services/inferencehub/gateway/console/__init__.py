"""The live page at /console: what this gateway does, once a second for those who look. The server imports it, and it imports `http_api` and all below."""
