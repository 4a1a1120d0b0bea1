"""The settings of the gateway, from the environment; every other room of the gateway may import it."""
