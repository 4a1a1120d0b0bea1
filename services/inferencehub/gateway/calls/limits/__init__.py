"""What limits count: meters, how many gateways share a limit, and leases of quotas; `calls` imports it, and `jobs` its `quotas`."""
