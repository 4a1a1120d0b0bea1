"""What every gRPC port of ours has: errors as status codes, health, reflection, options of the server. Imports `oip` and `values`."""
