"""The Open Inference Protocol (OIP): values to its messages and back, our extension of it, and /predict. Imports `values` and `lane`."""
