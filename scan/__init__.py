"""What scanners find in code, chart, Dockerfiles and locks. Imports from tests.chart; nothing imports it."""
