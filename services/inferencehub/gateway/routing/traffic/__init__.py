"""Which version a call gets that names none: weights and aliases from a file. `routing` and `calls` import it; it imports `core`."""
