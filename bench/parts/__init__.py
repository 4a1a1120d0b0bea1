"""The measurements: one file for each, most of them separate commands. They may import load, servers and report."""
