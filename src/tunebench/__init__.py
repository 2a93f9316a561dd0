"""tunebench: controlled, statistically honest comparison of fine-tuning strategies."""

__version__ = "0.1.0"
