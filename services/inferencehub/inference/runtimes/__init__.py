"""Runtimes: one file or folder for each kind of model. All implement the contract in `runtime.py`. They import only core; `models` loads them by name."""
