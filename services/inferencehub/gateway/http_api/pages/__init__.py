"""The OpenAPI document and the page that shows it in a browser. Imported by `http_api` alone."""
