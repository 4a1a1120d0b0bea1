"""Models that calls load and unload on all pods: what is wished, who keeps it, and how pods are told. Imports `gateway/routing` and below."""
