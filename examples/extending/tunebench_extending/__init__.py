"""A metric and a strategy for tunebench."""
