"""Ensembles: the steps that a configuration names, and what is wrong with them. It imports `core.values`; pods and the gateway's routing import it."""
