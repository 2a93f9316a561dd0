"""Which data: what a user asks for, and what a run's id holds of it."""

from __future__ import annotations

import codecs
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tunebench.data.inputs import ColumnName, Inputs, template_columns
from tunebench.schema import Frozen

#: Where copies of a text may go: into one part of a run, or wherever the draw puts them.
Copies = Literal["together", "anywhere"]

Separator = Literal["comma", "semicolon", "tab", "pipe"]


class ReadOptions(Frozen):
    """How files are read, where what is recognised of them is not right; unset is recognised."""

    encoding: str | None = Field(default=None, description="of text files, such as utf-8, cp1252, utf-16")
    separator: Separator | None = Field(default=None, description="between the fields of CSV and TSV")
    quotes: bool | None = Field(
        default=None, description='whether " around a field of CSV and TSV quotes it, or is part of the text'
    )
    header: bool | None = Field(default=None, description="whether the first row of CSV and TSV names the columns")

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        try:
            # Python also calls "hex" and "zip" encodings; they decode to bytes.
            known = value is None or codecs.lookup(value)._is_text_encoding
        except (LookupError, ValueError):
            known = False
        if not known:
            raise ValueError(
                f"{value!r} is not an encoding that Python knows; for example utf-8, cp1252, utf-16, shift_jis"
            )
        return value


def _label_name(value: Any) -> Any:
    """Return a label as it is written; YAML reads a bare 1 as a number and a bare no as false."""
    if isinstance(value, bool):
        raise ValueError(f"{value} is not a label name; write true, false, yes, no, on and off in quotes")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, (int, float)) else value


LabelName = Annotated[
    str, BeforeValidator(_label_name), Field(description="a label; write true, no and the like in quotes")
]


class LabelChoices(Frozen):
    """What becomes of labels that are not what they should be; by default they are kept, and noted.

    ``merge`` renames labels, and so makes one class of several; ``alike`` does it for all that differ only in case,
    blanks, invisible characters, quotation marks around them or Unicode normal form. Where a text may have several
    labels, ``drop`` takes a label off the texts that have it.
    """

    merge: Literal["alike"] | dict[LabelName, LabelName] | None = Field(
        default=None, description="alike, or a mapping from a label to the one it counts as"
    )
    drop: tuple[LabelName, ...] = Field(default=(), description="labels whose rows are left out")
    missing: Literal["refuse", "drop"] = Field(default="refuse", description="rows without a label")
    none: Literal["refuse", "drop", "keep"] = Field(
        default="refuse", description="texts without any label, where a text may have several"
    )

    @field_validator("drop", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, (str, int, float)) else value

    @field_validator("merge", mode="before")
    @classmethod
    def _with_blanks(cls, value: Any) -> Any:
        if isinstance(value, dict) and any(":" in str(key) and to is None for key, to in value.items()):
            raise ValueError("write a blank after each colon, as in {Pos: pos}")
        return value

    @model_validator(mode="after")
    def _one_step(self) -> LabelChoices:
        merge = self.merge if isinstance(self.merge, dict) else {}
        twice = sorted(name for name in merge.values() if merge.get(name, name) != name)
        if twice:
            raise ValueError(f"merge names {', '.join(twice)} on both sides; name the last label of each chain")
        both = sorted(set(self.drop) & {*merge, *merge.values()})
        if both:
            raise ValueError(f"these labels are both dropped and merged: {', '.join(both)}")
        return self


class TextChoices(Frozen):
    """What happens to rows without a text."""

    empty: Literal["refuse", "drop"] = Field(
        default="refuse", description="rows whose text, or one of a pair, is empty"
    )


class DataConfig(ReadOptions):
    """Where texts and labels come from; columns are found by convention unless named."""

    source: str = Field(description="packaged name, Hub name, file or folder")
    revision: str | None = Field(default=None, description="Hub revision; the default branch when unset")
    subset: str | None = Field(default=None, description="Hub configuration name")
    text_column: ColumnName | None = Field(default=None, description="the one column that holds the texts")
    text_columns: tuple[ColumnName, ...] | None = Field(
        default=None,
        min_length=1,
        description="two columns: pairs of texts that are read together; with join, the columns it names",
    )
    join: str | None = Field(
        default=None, description="makes one text of several columns: a template such as '{title}. {body}'"
    )
    label_column: ColumnName | None = None
    task: Literal["single_label", "multi_label", "regression"] | None = Field(
        default=None,
        description="whether a text has one label, several, or a number to predict; unset, the label column tells",
    )
    label_delimiter: str | None = Field(
        default=None, min_length=1, max_length=10, description="between several labels of a text, such as |"
    )
    label_columns: tuple[ColumnName, ...] | None = Field(
        default=None, min_length=2, description="columns of 0 and 1, one a label, in place of one label column"
    )
    validation: Literal["own", "drawn"] | None = Field(
        default=None,
        description="own: the validation part that the data brings; drawn: a share of each training subset; unset, "
        "own where there is one",
    )
    split_column: ColumnName | None = Field(
        default=None, description="column of a single table that says train, validation or test"
    )
    group_column: ColumnName | None = Field(
        default=None, description="column of groups, such as authors; each stays in one part of what is drawn"
    )
    time_column: ColumnName | None = Field(
        default=None, description="column of times; a test part that is held out is then the latest texts"
    )
    labels: LabelChoices = Field(default_factory=LabelChoices)
    texts: TextChoices = Field(default_factory=TextChoices)

    @model_validator(mode="after")
    def _one_way_to_write_labels(self) -> DataConfig:
        several = {"label_delimiter": self.label_delimiter, "label_columns": self.label_columns}
        given = [name for name, value in several.items() if value is not None]
        if len(given) > 1:
            raise ValueError("label_delimiter and label_columns are two ways to write labels; drop one of them")
        if self.label_columns and self.label_column is not None:
            raise ValueError("label_column and label_columns both name the labels; drop one of them")
        if given and self.task not in (None, "multi_label"):
            raise ValueError(f"{given[0]} is for several labels a text; drop it, or task: {self.task}")
        renamed = [name for name in ("drop", "merge") if getattr(self.labels, name)]
        if renamed and self.task == "regression":
            raise ValueError(
                f"labels.{renamed[0]} is for labels, and task: regression has numbers; drop one of them"
            )
        if self.label_columns and len(set(self.label_columns)) < len(self.label_columns):
            raise ValueError("label_columns names a column twice")
        return self

    @field_validator("text_columns", mode="before")
    @classmethod
    def _list_of_names(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"write a list of names, as in [{', '.join(value.split(','))}]")
        return value

    @field_validator("text_columns")
    @classmethod
    def _different_names(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError("names the same column twice")
        return value

    @field_validator("join")
    @classmethod
    def _template(cls, value: str | None) -> str | None:
        if value is not None:
            template_columns(value)
        return value

    @model_validator(mode="after")
    def _one_way_to_make_texts(self) -> DataConfig:
        columns, named = self.text_columns, template_columns(self.join) if self.join is not None else ()
        if self.text_column is not None and (columns or named):
            raise ValueError("text_column takes one column alone; drop it, or text_columns and join")
        if named and columns and set(named) != set(columns):
            raise ValueError(
                f"join names {', '.join(named)}, and text_columns {', '.join(columns)}; drop text_columns"
            )
        if columns and len(columns) > 2 and not named:
            template = " ".join(f"{{{name}}}" for name in columns)
            raise ValueError(
                f"text_columns names {len(columns)} columns, and a pair has two; join makes one text of them, "
                f"as in join: '{template}'"
            )
        return self

    @property
    def inputs(self) -> Inputs | None:
        """The columns of a text as the user names them; None where they are left to be found."""
        if self.join is not None:
            return Inputs(columns=template_columns(self.join), join=self.join)
        columns = self.text_columns or ((self.text_column,) if self.text_column is not None else None)
        return None if columns is None else Inputs(columns=columns)


class SplitRef(Frozen):
    """What the parts of a run rest on besides the texts and labels of train and test: digests of their content."""

    validation: str | None = Field(
        default=None, description="of the data's own validation part, where that selects"
    )
    groups: str | None = Field(default=None, description="of the groups, where parts are drawn by them")
    times: str | None = Field(default=None, description="of the order in time, where the latest texts are held out")


class DataRef(Frozen):
    """A data set, pinned by the content of its texts and labels."""

    source: str
    revision: str | None = None
    fingerprint: str
    label_names: tuple[str, ...]
    inputs: Inputs | None = Field(
        default=None, description="the columns of a text where they are several; no part of a run's id"
    )
