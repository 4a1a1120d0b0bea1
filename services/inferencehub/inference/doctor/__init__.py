"""What the doctor of an inference service looks at; `server.py` and `__main__.py` import it, and it imports the models."""
