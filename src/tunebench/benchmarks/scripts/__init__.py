"""Scripts of their own, without tunebench. They have a folder of their own, whose modules hide none of Python's."""
