"""Execution: plan a study and run it."""
