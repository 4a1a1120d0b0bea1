"""The lane: a queue in front of slots, with its batching, deadlines and retries. Imports `values` alone; both tiers use it."""
