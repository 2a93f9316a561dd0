"""Encoders, trained by the Hugging Face Trainer."""
