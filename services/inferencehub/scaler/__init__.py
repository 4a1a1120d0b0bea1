"""The demand of all gateways, summed and served as a metric that a standard autoscaler follows."""
