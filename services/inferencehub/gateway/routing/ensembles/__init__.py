"""Ensembles, whose steps a gateway runs over its lanes. It imports lanes and replicas; the routing table imports it."""
