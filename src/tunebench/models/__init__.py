"""Pretrained encoders: names, modules, loading."""
