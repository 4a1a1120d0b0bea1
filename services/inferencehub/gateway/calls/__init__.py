"""Calls of models from any front: stages, time limit, lane. Knows no HTTP; fronts import it, it imports `routing`."""
