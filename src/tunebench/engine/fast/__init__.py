"""The fast CPU path, for post-norm encoder layers: fp32 parameters, products in bf16 where those are faster.

:class:`~tunebench.engine.fast.attach.FastEncoder` swaps the ``forward`` of a loaded model's layers; parameters,
names and state dicts stay exactly what Transformers and PEFT made them, and the swap can be undone.
"""
