"""Linear folders: a linear model in safetensors, with its vocabulary or its encoder beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tunebench.inference.export.base import Exporter, Tolerance, register
from tunebench.training.linear.exports import LINEAR_FILE, LINEAR_WEIGHTS, linear_facts, write_linear
from tunebench.training.linear.terms import MARK, Terms

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tunebench.data.tokens import Cut
    from tunebench.inference.artifacts import Artifact, Format
    from tunebench.tasks.base import Task

#: What follows where ``scores`` are there: one column for two classes.
_LABELS = (
    f'names = json.loads(Path("PATH/{LINEAR_FILE}").read_text(encoding="utf-8"))["label_names"]',
    "if scores.shape[1] == 1:  # two classes: a positive score is the second",
    "    found = [names[int(score > 0)] for (score,) in scores]",
    "else:",
    "    found = [names[int(row.argmax())] for row in scores]",
)
#: The same for several labels a text, each given above 0.5.
_SEVERAL = (
    _LABELS[0],
    "# A score above 0 is a probability, its sigmoid, above 0.5.",
    "found = [[name for name, score in zip(names, row) if score > 0] for row in scores]",
)
#: The same for several labels a text, each with a threshold of its own.
_ABOVE_THRESHOLDS = (
    "from math import exp",
    "",
    f'facts = json.loads(Path("PATH/{LINEAR_FILE}").read_text(encoding="utf-8"))',
    'known = list(zip(facts["label_names"], facts["thresholds"]))',
    'temperature = facts.get("temperature") or 1',
    "# The sigmoid of a score is the label's probability.",
    "found = [",
    "    [name for (name, least), score in zip(known, row) if 1 / (1 + exp(-score / temperature)) > least]",
    "    for row in scores",
    "]",
)


#: The same for one label a text, of two classes, with a threshold for the second.
_ABOVE_ONE = (
    "from math import exp",
    "",
    f'facts = json.loads(Path("PATH/{LINEAR_FILE}").read_text(encoding="utf-8"))',
    'names, (least,) = facts["label_names"], facts["thresholds"]',
    'temperature = facts.get("temperature") or 1',
    "# The sigmoid of a score is the probability of the second class.",
    "found = [names[int(1 / (1 + exp(-score / temperature)) > least)] for (score,) in scores]",
)


@register
class LinearExporter(Exporter):
    """What a linear model needs to answer, in safetensors and JSON."""

    name: ClassVar[Format] = "linear"
    summary: ClassVar[str] = "linear model with its vocabulary, its token vectors or its encoder"
    tolerance: ClassVar[Tolerance] = Tolerance(1e-3, 0.99, 0.005)
    library: ClassVar[str] = "tunebench"

    def write(self, model: Any, folder: Path, artifact: Artifact) -> None:
        """Write all files, the tokenizer included; see :meth:`Exporter.write`."""
        write_linear(model, folder, artifact.label_names, artifact.task, artifact.temperature)

    def how_to_load(self, artifact: Artifact, cut: Cut | None, folder: Path) -> str:
        """Return the lines for scikit-learn or Transformers; see :meth:`Exporter.how_to_load`."""
        facts = linear_facts(folder)
        lines = _LINES[facts.features](facts.settings, folder, pairs=artifact.reads_pairs)
        return "\n".join([*lines, *_naming(facts.task)])


#: A number is its score.
_NUMBERS = ("found = [float(score) for (score,) in scores]",)


def _naming(task: Task) -> tuple[str, ...]:
    """Return the lines that turn scores into labels or numbers."""
    if not task.labelled:
        return _NUMBERS
    fixed = getattr(task.outputs, "thresholds", None) is None
    if task.exclusive:
        return _LABELS if fixed else _ABOVE_ONE
    return _SEVERAL if fixed else _ABOVE_THRESHOLDS


#: The terms of a pair, as :class:`~tunebench.training.linear.terms.Terms` gives them.
_PAIR_TERMS = (
    "",
    "def terms(pair):",
    "    first, second = map(terms_of, pair)",
    "    both = set(first) & set(second)",
    "    shares = [10 * len(both) // max(1, len(set(side))) for side in (first, second)]",
    "    return [",
    '        *(f"1: {term}" for term in first if term not in both),',
    '        *(f"2: {term}" for term in second if term not in both),',
    '        *(f"1+2: {term}" for term in both),',
    '        f"1 in 2: {shares[0]}",',
    '        f"2 in 1: {shares[1]}",',
    "    ] if first or second else []",
    "",
)


def _tfidf(settings: Mapping[str, Any], folder: Path, *, pairs: bool) -> list[str]:
    terms = Terms.stored(settings)
    words = f"ngram_range=(1, {terms.ngrams})"
    characters = f'analyzer="char_wb", ngram_range=(2, {terms.char_ngrams})'
    options, made = {"word": (words, []), "char_wb": (characters, []), "both": ("analyzer=terms_of", _both(terms))}[
        terms.analyzer
    ]
    if pairs:
        made = made or [f"terms_of = TfidfVectorizer({options}).build_analyzer()"]
        options, made = "analyzer=terms", [*made, *_PAIR_TERMS]
    text = '("a text", "its second text")' if pairs else '"a text"'
    return [
        "import json",
        "from pathlib import Path",
        "",
        "from safetensors.numpy import load_file",
        "from sklearn.feature_extraction.text import TfidfVectorizer",
        "",
        f'weights = load_file("PATH/{LINEAR_WEIGHTS}")',
        *made,
        "vectorizer = TfidfVectorizer(",
        f"    {options},",
        "    sublinear_tf=True,",
        '    vocabulary=json.loads(Path("PATH/vocabulary.json").read_text(encoding="utf-8")),',
        ")",
        'vectorizer.idf_ = weights["idf"]',
        f'scores = vectorizer.transform([{text}]) @ weights["coefficients"].T + weights["intercepts"]',
    ]


def _both(terms: Terms) -> list[str]:
    """Return the lines for the terms of a text where words and characters are counted."""
    return [
        f"words = TfidfVectorizer(ngram_range=(1, {terms.ngrams})).build_analyzer()",
        f'runs = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, {terms.char_ngrams})).build_analyzer()',
        "",
        "",
        "def terms_of(text):",
        f'    return [*words(text), *("{MARK}" + run for run in runs(text))]',
        "",
        "",
    ]


def _embeddings(settings: Mapping[str, Any], folder: Path, *, pairs: bool) -> list[str]:
    from tunebench.models.loading import load_architecture

    # Families with a pooler would draw one, and warn.
    pooler = ", add_pooling_layer=False" if _has_pooler(load_architecture(folder).model_type) else ""
    pooled = (
        ["vectors = states[:, 0]"]
        if settings["pooling"] == "first"
        else ['mask = batch["attention_mask"].unsqueeze(-1)', "vectors = (states * mask).sum(1) / mask.sum(1)"]
    )
    if settings["normalised"]:
        pooled.append("vectors = torch.nn.functional.normalize(vectors)")
    note = "  # of a longer text the first window" if settings["windows"] else ""
    texts = '["a text", "its second text"]' if pairs else '["a text"]'
    if pairs:
        pooled += [_PAIR_FEATURES, "vectors = torch.cat([u, v, (u - v).abs(), u * v], dim=1)"]
    return [
        "import json",
        "from pathlib import Path",
        "",
        "import torch",
        "from safetensors.torch import load_file",
        "from transformers import AutoModel, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("PATH")',
        f'encoder = AutoModel.from_pretrained("PATH"{pooler}).eval()',
        f'weights = load_file("PATH/{LINEAR_WEIGHTS}")',
        f'batch = tokenizer({texts}, truncation=True, padding=True, return_tensors="pt"){note}',
        "with torch.inference_mode():",
        "    states = encoder(**batch).last_hidden_state",
        *pooled,
        'scores = vectors @ weights["coefficients"].T + weights["intercepts"]',
    ]


#: Of pairs: what :func:`tunebench.training.embeddings.pairs.features` makes of two vectors.
_PAIR_FEATURES = "u, v = vectors[:1], vectors[1:]"


def _static(settings: Mapping[str, Any], folder: Path, *, pairs: bool) -> list[str]:
    texts = '["a text", "its second text"]' if pairs else '["a text"]'
    joined = [_PAIR_FEATURES, "vectors = np.hstack([u, v, abs(u - v), u * v])"] if pairs else []
    return [
        "import json",
        "from pathlib import Path",
        "",
        "import numpy as np",
        "from safetensors.numpy import load_file",
        "from transformers import AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("PATH")',
        f'weights = load_file("PATH/{LINEAR_WEIGHTS}")',
        f'tokens = tokenizer({texts}, add_special_tokens=False)["input_ids"]',
        'vectors = np.stack([weights["vectors"][row].astype("float32").sum(axis=0) for row in tokens])',
        "vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)",
        *joined,
        'scores = vectors @ weights["coefficients"].T + weights["intercepts"]',
    ]


#: The lines that give ``scores``, by what the features are made of.
_LINES = {"tfidf": _tfidf, "embeddings": _embeddings, "static": _static}


def _has_pooler(model_type: str) -> bool:
    return model_type in ("bert", "roberta", "xlm-roberta", "camembert")
