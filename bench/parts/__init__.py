"""What is measured, a file a part, most of them commands of their own. May import load, servers and report."""
