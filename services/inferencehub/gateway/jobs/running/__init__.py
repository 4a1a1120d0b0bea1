"""What a gateway runs of the jobs: takes them from the store, as many as its lanes have room for, and tells how they go. `jobs/fronts`, `jobs/submit.py` and fronts import it."""
