"""A call of a model, whatever front it came by: stages, time limit, lane. Knows no HTTP; fronts import it, it imports `routing`."""
