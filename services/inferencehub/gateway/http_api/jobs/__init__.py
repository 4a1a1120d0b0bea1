"""Jobs over HTTP: calls that ask for it become jobs, jobs run as calls do, and pages show how they stand. Imported by the edge and `gateway/server.py`."""
