"""A queue in front of slots, with batching, deadlines and retries. Imports `values` alone; both tiers use it."""
