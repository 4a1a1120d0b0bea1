"""A call of a model, whatever front it came by: stages, routing to a lane, deadlines. Knows no HTTP; fronts use it, it uses `routing`."""
