"""What people read in a browser: the OpenAPI document and its page. Imported by `http_api` alone."""
