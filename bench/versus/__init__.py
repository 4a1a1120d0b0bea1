"""`python -m bench.versus OLD NEW`: two checkouts in turns in one run. May import load, servers and report."""
