"""Who asks: requests with known answers, and the clients that send them. Imports no other folder of the bench."""
