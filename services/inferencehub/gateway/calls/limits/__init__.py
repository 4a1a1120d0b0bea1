"""What limits count: meters, and how many gateways share a limit; `calls` imports it."""
