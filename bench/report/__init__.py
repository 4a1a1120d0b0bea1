"""What was seen: results, goals, tables and plots. May import load."""
