"""Load: requests with known answers, and clients that send them. It imports no other folder of the bench."""
