"""What all fronts do with jobs: read what callers say of them, keep them, run them, and show them. Fronts import it; it imports `jobs` and what is below."""
