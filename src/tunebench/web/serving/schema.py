"""The schema of requests and answers, and how a request's body is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    create_model,
)
from pydantic_core import from_json

if TYPE_CHECKING:
    from tunebench.web.serving.limits import Limits

#: Everything but control characters; tab, line feed and carriage return are text.
_TEXT = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+$"
#: Most problems that an answer lists, and most characters of a place.
_PROBLEMS, _WHERE = 20, 200
#: How pydantic calls the kinds of ``texts``.
_ONE, _SEVERAL, _PAIRS = _KINDS = ("<text>", "<texts>", "<pairs>")


class Prediction(BaseModel):
    """The answer for one text."""

    label: str = Field(description="the most likely class")
    probability: float = Field(ge=0, le=1, description="of that class")
    probabilities: dict[str, float] = Field(description="of every class; they sum to 1")


class LabelsPrediction(BaseModel):
    """The answer for one text, of a model that gives a text several labels or none."""

    labels: list[str] = Field(description="labels whose probability is above their threshold; may be empty")
    probabilities: dict[str, float] = Field(description="of every label by itself; they do not sum to 1")


class NumberPrediction(BaseModel):
    """The answer for one text, of a model that predicts a number."""

    value: float = Field(description="in the unit of the data that the model was trained on")


class PredictAnswer(BaseModel):
    """The answer for a request."""

    model: str = Field(description="what answered")
    predictions: list[Prediction] | list[LabelsPrediction] | list[NumberPrediction] = Field(
        description="one for each text, in the order of the request"
    )


class ModelInfo(BaseModel):
    """A loaded model."""

    name: str
    default: bool = Field(description="whether it answers requests that name no model")
    format: str = Field(description="adapter, merged, linear, onnx or onnx-int8")
    labels: list[str] = Field(description="names of the labels; of a model that predicts a number, its name alone")
    task: str = Field(description="single_label, multi_label or regression: which form its answers have")
    pair: list[str] | None = Field(
        description="what the two texts of a pair are called; null where a text is a single one"
    )
    max_length: int | None = Field(
        description="most tokens that are read of a text, special ones included; null where whole texts are read"
    )
    truncation: str | None = Field(
        description="what these are of a longer text: head (its beginning), tail or head_tail; null as above"
    )
    shares_base_with: list[str] = Field(description="models whose requests share batches with this one's")


class ModelList(BaseModel):
    """All loaded models, the default first."""

    models: list[ModelInfo]


class Status(BaseModel):
    """Whether the server lives, or takes requests."""

    status: str


class Problem(BaseModel):
    """One thing that is wrong with a request."""

    where: str = Field(description="place in the body, such as texts.3; empty for the whole body")
    what: str


class Refusal(BaseModel):
    """Why a request was not answered."""

    error: str
    problems: list[Problem] = []


def request_type(limits: Limits) -> type[BaseModel]:
    """Return the type of a request's body under some limits."""
    text = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=limits.characters, pattern=_TEXT)]
    several = Annotated[list[text], Field(min_length=1, max_length=limits.texts)]
    # Tuples, so that the schema says that they are of two; JSON has lists.
    pairs = Annotated[list[tuple[text, text]], Field(min_length=1, max_length=limits.texts)]
    # Decided by type, so that an error speaks of what was meant.
    one_or_several = Annotated[
        Annotated[text, Tag(_ONE)] | Annotated[several, Tag(_SEVERAL)] | Annotated[pairs, Tag(_PAIRS)],
        Discriminator(_kind_of),
    ]
    fields: dict[str, Any] = {
        "texts": (one_or_several, Field(description="one text, or several; a pair is a list of two")),
        "model": (str | None, Field(default=None, description="a name of /v1/models; the first by default")),
    }
    return create_model(
        "PredictRequest",
        __config__=ConfigDict(extra="forbid", strict=True),
        __doc__="Texts, and the model that answers.",
        **fields,
    )


def _kind_of(value: Any) -> str:
    if not isinstance(value, list):
        return _ONE
    return _PAIRS if value and isinstance(value[0], (list, tuple)) else _SEVERAL


def request_schema(
    kind: type[BaseModel], names: Sequence[str], *, single: bool = True, pairs: bool = True
) -> dict[str, Any]:
    """Return the JSON schema of a request's body, with the models that can be named.

    Args:
        kind: What :func:`request_type` gave.
        names: The loaded models.
        single: Whether one of them reads single texts.
        pairs: Whether one of them reads pairs.
    """
    schema = kind.model_json_schema()
    texts = schema["properties"]["texts"]
    texts["oneOf"] = texts["oneOf"][0 if single else 2 : 3 if pairs else 2]
    schema["properties"]["model"]["anyOf"][0]["enum"] = list(names)
    schema["properties"]["model"]["default"] = None
    return schema


def strange_keys(kind: type[BaseModel], body: bytes) -> list[Problem]:
    """Return problems where a body has more unknown keys than an answer lists: the first ones, and how many more.

    pydantic makes an error of each, which takes seconds where a body holds nothing else. A few are left to it.

    Args:
        kind: What :func:`request_type` gave.
        body: JSON.

    Raises:
        ValueError: It is no JSON.
    """
    found = from_json(body)
    strange = [key for key in found if key not in kind.model_fields] if isinstance(found, dict) else []
    if len(strange) <= _PROBLEMS:
        return []
    first = [Problem(where=key[:_WHERE], what="Extra inputs are not permitted") for key in strange[:_PROBLEMS]]
    return [*first, Problem(where="", what=f"{len(strange) - _PROBLEMS} more keys are not permitted")]


def problems_of(error: ValidationError) -> list[Problem]:
    """Return what pydantic found, without the values: they may be huge, or no valid Unicode."""
    return [
        Problem(
            where=".".join(str(part) for part in entry["loc"] if part not in _KINDS)[:_WHERE],
            what=entry["msg"],
        )
        for entry in error.errors(include_input=False, include_context=False, include_url=False)[:_PROBLEMS]
    ]
