"""``python -m tunebench.cli``."""

from tunebench.cli import main

main()
