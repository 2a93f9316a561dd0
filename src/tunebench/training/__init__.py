"""Training: one run from its spec to its record, one folder a backend."""
