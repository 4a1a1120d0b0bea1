"""What the file of traffic does with single calls: they move to another version, and copies of them try one. Imports `routing`."""
