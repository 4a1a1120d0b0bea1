"""Boosted trees of LightGBM and XGBoost, in processes. It imports `runtime.py`, `from_file.py`, `python` and `support`."""
