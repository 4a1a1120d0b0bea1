"""Gateways, pods and the store are killed and frozen under jobs, and every result is compared. May import load and servers."""
