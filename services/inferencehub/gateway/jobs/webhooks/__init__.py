"""Webhooks: the end of a job is told to a URL that its caller named. Fronts and the store's protocol import it; it imports what is kept of jobs."""
