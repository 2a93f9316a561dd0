"""``python -m tunebench``, the same as ``tunebench``."""

from tunebench.cli import main

main()
