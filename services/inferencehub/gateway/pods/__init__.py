"""Pods: how they are found, their connections, their models and their slots. Imports core alone; `routing` uses it."""
