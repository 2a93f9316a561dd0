"""What a folder must hold to be a model, and what it holds instead if it is none."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunebench.errors import ModelError, StoreError
from tunebench.files import read_foreign_object
from tunebench.formatting import command
from tunebench.models.architectures import ARCHITECTURES, unknown_architecture
from tunebench.models.weights import INDEX_FILE, SINGLE_FILE, few_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
#: Files that make a tokenizer by themselves; of each entry all are needed.
_TOKENIZERS = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"))
#: Vocabularies that only the sentencepiece package reads.
_SENTENCEPIECE = ("sentencepiece.bpe.model", "spm.model", "spiece.model", "tokenizer.model")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
#: Weights that are not read, since reading a pickle runs what is in it; and SetFit's head.
PICKLED_HEAD = "model_head.pkl"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt")


def check_model_folder(folder: Path, source: str) -> None:
    """Raise unless the folder holds a supported configuration, a tokenizer and safetensors.

    Args:
        folder: The folder.
        source: What the user called it.

    Raises:
        ModelError: The first thing that is missing.
    """
    refuse_other_folders(folder, source)
    try:
        config = read_foreign_object(folder / "config.json")
        model_type, classes = config.get("model_type"), config.get("architectures")
    except StoreError:
        raise ModelError(
            "The model has no readable config.json.",
            value=source,
            fix="name the folder that save_pretrained() wrote",
        ) from None
    if not model_type and isinstance(classes, list) and "BertModel" in classes:
        model_type = "bert"
    if not isinstance(model_type, str) or model_type not in ARCHITECTURES:
        raise unknown_architecture(str(model_type or "(none)"))
    check_tokenizer_files(folder, source)
    if not any(folder.glob("*.safetensors")):
        raise _no_weights(folder, source)


def refuse_other_folders(folder: Path, source: str) -> None:
    """Raise if the folder is that of an adapter, or a Trainer's output folder.

    Raises:
        ModelError: It says what the folder is, and what to name instead.
    """
    if (folder / ADAPTER_CONFIG).exists() and not _has_weights(folder):
        base = read_foreign_object(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
        raise ModelError(
            "This is a PEFT adapter for another model. A whole model is needed.",
            value=source,
            fix=f"name its base ({base or 'adapter_config.json does not say which'}), to train without the "
            "adapter; or fold the adapter into the base first, in Python: "
            f"tunebench.load({source!r}).model.save_pretrained('merged'), and save the tokenizer there too",
        )
    if not (folder / "config.json").exists():
        refuse_trainer_output(folder, source)


def refuse_trainer_output(folder: Path, source: str) -> None:
    """Raise where there are a Trainer's checkpoints in the folder, and say which to name instead.

    Raises:
        ModelError: With the last checkpoint, and the best where the Trainer noted it.
    """
    found = {int(match[1]): path for path in folder.glob("*/") if (match := _CHECKPOINT.fullmatch(path.name))}
    if not found:
        return
    last = found[max(found)]
    best = _best_checkpoint(last)
    choice = f"{source.rstrip('/')}/{last.name} (the last)"
    if best and best != last.name and (folder / best).is_dir():
        choice = f"{source.rstrip('/')}/{best} (the best by its trainer_state.json), or {choice}"
    raise ModelError(
        "This is a Trainer's output folder; the models are in its checkpoint folders.",
        value=source,
        allowed=", ".join(found[step].name for step in sorted(found)),
        fix=f"name one of them: {choice}",
    )


def _best_checkpoint(folder: Path) -> str | None:
    """Return the name of the checkpoint that a Trainer found best, as its last checkpoint says."""
    try:
        best = read_foreign_object(folder / "trainer_state.json").get("best_model_checkpoint")
    except StoreError:
        return None
    # Where it was trained, which need not be this machine.
    return re.split(r"[/\\]", best)[-1] if isinstance(best, str) and best else None


def _has_weights(folder: Path) -> bool:
    return (folder / SINGLE_FILE).exists() or (folder / INDEX_FILE).exists()


def _no_weights(folder: Path, source: str) -> ModelError:
    """Return the error for a folder with a configuration and no safetensors, by what it has instead."""
    graphs = sorted(path.name for path in folder.glob("*.onnx"))
    if graphs:
        return ModelError(
            f"The folder holds an ONNX graph ({', '.join(graphs)}), which cannot be trained or adapted.",
            value=source,
            allowed=f"a folder with {SINGLE_FILE}",
            fix="name the folder that the graph was exported from",
        )
    pickled = [name for name in PICKLED if (folder / name).exists()]
    if pickled:
        return pickled_weights(source, pickled[0])
    return ModelError(
        f"The folder holds no weights ({SINGLE_FILE}).",
        value=source,
        fix="save the model there with model.save_pretrained(folder)",
    )


def pickled_weights(source: str, name: str) -> ModelError:
    """Return the error for weights that could only be read by running what is in them.

    Args:
        source: What the user called the folder.
        name: The file.
    """
    return ModelError(
        f"The weights are pickled ({name}); only safetensors are read, since reading a pickle runs code.",
        value=source,
        fix="convert once, in a process you trust: AutoModelForSequenceClassification.from_pretrained(folder)"
        ".save_pretrained(folder)",
    )


def check_tokenizer_files(folder: Path, source: str) -> None:
    """Raise unless a tokenizer can be made of the files in a folder; Transformers would make an empty one.

    Raises:
        ModelError: There is none, or a package is missing that reads it.
    """
    if any(all((folder / name).exists() for name in names) for names in _TOKENIZERS):
        return
    pieces = [name for name in _SENTENCEPIECE if (folder / name).exists()]
    if not pieces:
        raise ModelError(
            "The model's folder has no tokenizer, so every word would be unknown to the model.",
            value=source,
            allowed=f"{', '.join(' with '.join(names) for names in _TOKENIZERS)}, {', '.join(_SENTENCEPIECE)}",
            fix="tokenizer.save_pretrained(folder) from where the model was trained",
        )
    if importlib.util.find_spec("sentencepiece") is None:
        raise ModelError(
            f"The tokenizer exists only as {pieces[0]}, and the package that reads it is not installed.",
            value=source,
            allowed="tokenizer.json, which needs no further package",
            fix="pip install sentencepiece; or, once, where it is installed: "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder), which writes tokenizer.json",
        )


def check_token_ids(tokenizer: PreTrainedTokenizerBase, rows: int | None, folder: Path) -> None:
    """Raise if a tokenizer knows no words, or gives ids for which the model's embedding has no row.

    Args:
        tokenizer: The tokenizer.
        rows: Rows of the embedding; None where they are not known.
        folder: The tokenizer's folder, for the message.

    Raises:
        ModelError: With the numbers.
    """
    vocabulary = tokenizer.get_vocab()
    if set(vocabulary) <= set(tokenizer.all_special_tokens):
        raise ModelError(
            "The tokenizer holds no words, so every word would be unknown to the model.",
            value=str(folder),
            fix="use the tokenizer that was saved with the weights",
        )
    outside = sorted((number, token) for token, number in vocabulary.items() if rows is not None and number >= rows)
    if outside:
        raise ModelError(
            f"The tokenizer and the weights do not belong together: token ids go up to {outside[-1][0]}, and the "
            f"model's embedding has {rows} rows (ids 0 to {(rows or 0) - 1}).",
            value=f"{folder}: {few_of([f'{token} = {number}' for number, token in outside])}",
            fix="use the tokenizer that was saved with the weights; or, if tokens were added for training, "
            "call model.resize_token_embeddings(len(tokenizer)), and save both",
        )


def lacking_head(folder: Path, missing: Sequence[str], is_new_head: Callable[[str], bool]) -> ModelError:
    """Return the error for a model that lacks parts of its head, so that an answer would be random.

    Args:
        folder: The model.
        missing: What it lacks.
        is_new_head: Whether a parameter is what classification alone brings.
    """
    if (folder / PICKLED_HEAD).exists():
        return ModelError(
            "This is a SetFit model: its classification head is pickled (model_head.pkl) and not read, since "
            "reading a pickle runs code.",
            value=str(folder),
            fix="use the setfit library: SetFitModel.from_pretrained(folder); its encoder can be trained here: "
            + command("run", "STUDY", "--model", folder),
        )
    if all(is_new_head(name) for name in missing):
        what = f"This is an encoder without a classification head ({few_of(missing)}), so it predicts no classes."
    else:
        what = f"Trained parameters are missing and would be random: {few_of(missing)}."
    return ModelError(
        what,
        value=str(folder),
        fix=f"train it first: {command('run', 'STUDY', '--model', folder)}; or save the whole classifier "
        "again with save_pretrained()",
    )
