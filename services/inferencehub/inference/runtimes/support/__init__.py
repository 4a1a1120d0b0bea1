"""What several runtimes need: arrays, threads, the limit of cores, texts of errors. Imports core alone; `runtimes` and `models` use it."""
