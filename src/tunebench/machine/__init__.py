"""The computer: what it can do, and how time and memory are measured."""
