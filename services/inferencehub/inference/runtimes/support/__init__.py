"""What several runtimes need: arrays, threads, inline runs, cpu limit, declared signatures, error text. It imports only core; `runtimes` and `models` import it."""
