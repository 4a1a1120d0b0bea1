"""`python -m bench.guard`: fails if a request costs more than recorded. It may import all other folders."""
