"""The V1 protocol of TensorFlow Serving and KServe: instances in, predictions out. Imported by `routes`."""
