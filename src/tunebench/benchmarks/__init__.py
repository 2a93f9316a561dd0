"""``tunebench bench``: speed and cost, measured; one file a question."""
