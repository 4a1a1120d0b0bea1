"""What the gateway's doctor looks at of names, pods and models. It imports the fleet; `server.py` imports it."""
