"""The process's random generators belong to who called: what draws from them leaves them as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Inside, the global generators may be seeded and drawn from; afterwards they are as before.

    These are Python's, NumPy's and Torch's, the latter's of all GPUs too.
    """
    import torch

    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        # Named, since Torch warns of several GPUs that are not.
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
