"""`python -m bench.versus OLD NEW`: compares two checkouts in one run. It may import load, servers and report."""
