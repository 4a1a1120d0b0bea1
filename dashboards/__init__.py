"""The chart's Grafana dashboards, described in Python: `python -m dashboards` writes them. Only tests import it."""
