"""What values and frames are made of: msgspec, and its stand-in for a process that has no package of ours. Everything may import it."""
