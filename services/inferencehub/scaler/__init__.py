"""The scaler: the demand of all gateways, summed, as a metric for autoscalers. Imports core alone; no other tier imports it."""
