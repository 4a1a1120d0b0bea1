"""`python -m bench.guard`: fails where a request has become dearer than recorded. May import all other folders."""
