"""``python -m tunebench``: the command line."""

from tunebench.cli import main

main()
