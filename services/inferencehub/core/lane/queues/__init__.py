"""What waits in a lane, and who is next: the order of calls, and that of background work behind them. `core/lane/lane.py`, and who makes lanes, import it."""
