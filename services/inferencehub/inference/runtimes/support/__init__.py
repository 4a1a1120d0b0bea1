"""What several runtimes need: arrays, narrowing, threads, inline runs, cpu limit, devices, declared signatures, tables, error text. It imports only core; `runtimes` and `models` import it."""
