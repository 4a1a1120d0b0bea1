"""What a process uses, as metrics: its event loop, its garbage collector, its container. The ops port imports it."""
