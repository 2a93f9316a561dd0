"""Trained models: loading, prediction, export."""
