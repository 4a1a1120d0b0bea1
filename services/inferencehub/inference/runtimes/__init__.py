"""One file or folder for each kind of model, all with the contract of `runtime.py`. Imports core alone; `models` loads them by name."""
