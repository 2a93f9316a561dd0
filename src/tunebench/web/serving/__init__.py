"""Serving over HTTP: loaded classifiers, micro-batches over concurrent requests, the routes.

Importing this package imports neither torch nor the ``serve`` extra; its modules do.
"""
