"""Jobs: calls that may take their time. A store keeps them, a worker runs them. Fronts import it; it imports routing and what is below."""
