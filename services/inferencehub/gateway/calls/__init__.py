"""A call of a model, whatever front it came by: stages (who may call, and how much), time limit, lane. Knows no HTTP. Fronts import it; it imports `routing`."""
