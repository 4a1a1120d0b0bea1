"""Who answers: how each server's processes are installed, started, held still and ended. May import load."""
