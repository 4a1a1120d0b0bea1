"""JSON to tensors and back, with raw tensors behind it. Imports core alone; HTTP fronts use it."""
