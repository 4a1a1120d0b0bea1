"""What the doctor of a scaler looks at; `server.py` and `__main__.py` import it, and it imports the demand."""
