"""The fast CPU path: bf16 compute over fp32 parameters, for post-norm encoder layers.

:func:`~tunebench.engine.fast.attach.attach` swaps the ``forward`` of a loaded model's layers; parameters,
names and state dicts stay exactly what Transformers and PEFT made them, and the swap can be undone.
"""
