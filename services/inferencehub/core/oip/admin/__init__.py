"""What a server says of itself and its models, as the protocol's messages: configurations, statistics, settings. Imports `core/oip` and below."""
