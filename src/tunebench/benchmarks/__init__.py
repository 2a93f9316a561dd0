"""``tunebench bench``: measurements of speed and cost, one file for each."""
