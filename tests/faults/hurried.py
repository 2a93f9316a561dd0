"""Importing this prepares a fork server: its processes save a checkpoint after almost every step."""

from __future__ import annotations

import gc

from faults import study

study.often()
gc.freeze()  # what is imported is never garbage: a collection need not look at it
