"""Films: read within bounds, joined, mixed, stamped and written by PyAV in the worker process; no shell, no network."""
