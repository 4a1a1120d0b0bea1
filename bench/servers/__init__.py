"""Servers: how each server's processes are installed, started, paused and ended. It may import load."""
