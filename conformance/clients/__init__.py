"""The clients, each run in an environment of its own: numpy, the client and this folder are all they may import."""
