"""Loading the tokenizer of a model, checked against the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tunebench.errors import ModelError, StoreError, first_line
from tunebench.files import read_foreign_object
from tunebench.models.architectures import load_configuration, quiet_transformers
from tunebench.models.checks import check_token_ids, check_tokenizer_files

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(folder: Path, *, rows: int | None = None) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer, and check that the model has an embedding for each of its tokens.

    Args:
        folder: Its folder.
        rows: Rows of the model's embedding; None for what config.json in the tokenizer's folder says, if anything.

    Raises:
        ModelError: There is none, it cannot be loaded, or it is not that of the model.
    """
    from transformers import AutoTokenizer

    quiet_transformers()
    check_tokenizer_files(folder, str(folder))
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        # What reads vocabularies raises its own types, some of them straight from a library in another language.
        raise ModelError(f"The tokenizer cannot be loaded: {first_line(error)}", value=str(folder)) from None
    if not isinstance(tokenizer.model_max_length, (int, float)):
        raise ModelError(
            "The tokenizer does not say in numbers how long a text may be.",
            value=f"{folder}: model_max_length {tokenizer.model_max_length!r}"[:200],
            fix="correct model_max_length in tokenizer_config.json",
        )
    check_token_ids(tokenizer, rows if rows is not None else _configured_rows(folder), folder)
    if "token_type_ids" in tokenizer.model_input_names and not _has_segments(folder):
        # One of another family numbers the texts of a pair, and this model would not take the numbers.
        names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
        # Both: what is saved are the arguments it was made with.
        tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names
    return tokenizer


def _configured_rows(folder: Path) -> int | None:
    try:
        rows = read_foreign_object(folder / "config.json").get("vocab_size")
    except StoreError:
        return None
    return rows if isinstance(rows, int) else None


def _has_segments(folder: Path) -> bool:
    """Tell whether the model in a folder tells the texts of a pair apart; where there is none, it may."""
    if not (folder / "config.json").exists():
        return True
    try:
        config = load_configuration(folder)
    except ModelError:
        return True  # for whoever loads the model to say
    return bool((getattr(config, "type_vocab_size", None) or 0) > 1)
