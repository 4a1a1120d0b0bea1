"""Reports: results, goals, tables and plots. It may import load."""
