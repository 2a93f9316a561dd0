"""Kernels in C++ for what is no large matrix product in a training step of the fast layers.

There are two sets with one interface: in bf16 on AVX-512 (``bf16/``), and in fp32 on AVX2 or AVX-512 (``fp32/``).
They are compiled at first use on the machine that runs them (:mod:`~tunebench.engine.native.build`), tested against
PyTorch when they are loaded (:mod:`~tunebench.engine.native.loading`), and used by autograd
(:mod:`~tunebench.engine.native.functions`). Where they cannot be had, PyTorch's operators do the same.
"""
