"""The scaler: sums the demand that all gateways report, and serves it as a metric for autoscalers. It imports only core; no other tier imports it."""
