"""What a user's `model.py` may import: the types that it meets. It imports the standard library only."""
