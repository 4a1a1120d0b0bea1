"""The demo of autoscaling: a load that rises and falls, what pods do under it, and a picture of both. `make hpa-demo` runs
it. It may import cluster.py, demand.py and open_loop.py from the folder above; of the tests, only test_hpa.py imports it."""
