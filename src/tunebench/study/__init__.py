"""Studies: what a user asks for, resolved into runs."""
