"""``data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunebench.cli.app import FolderArgument, JsonOption, data_app
from tunebench.cli.console import out, print_json


@data_app.command("audit", epilog="Example: tunebench data audit imdb-reviews --max-length 256")
def data_audit(
    source: Annotated[
        str, typer.Argument(help="The data: a packaged name, a file, a folder or a Hub name.", metavar="DATA")
    ],
    model: Annotated[str, typer.Option(help="Model whose tokenizer counts the tokens.")] = "minilm",
    max_length: Annotated[int, typer.Option(help="Number of tokens that training would keep.", min=4)] = 256,
    text_column: Annotated[str | None, typer.Option(help="Name of the text column.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Name of the label column.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting of the data, as in run: data.encoding=cp1252."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Show what was read of a data set. Count its classes, lengths, truncated texts and duplicates."""
    from tunebench.api import audit_source
    from tunebench.data.audit_result import describe_labels, describe_numbers
    from tunebench.study.yaml_file import load_data_config

    config = load_data_config(source, text_column=text_column, label_column=label_column, overrides=set_ or [])
    found = audit_source(config, model=model, max_length=max_length)
    if json_:
        print_json(found.to_dict())
        return
    for line in found.reading:
        out.print(line, markup=False)
    for name, split in found.splits.items():
        balance = describe_numbers(split.numbers) if split.numbers else describe_labels(split)
        out.print(f"{name}: {split.examples:,} {'pairs' if split.sides else 'texts'}; {balance}", markup=False)
        if split.labels_per_text is not None:
            counts = ", ".join(f"{number} in {texts:,}" for number, texts in split.labels_per_text.items())
            out.print(f"  labels per text: {counts}")
        sides = [(f"characters of {column!r}", lengths) for column, lengths in split.sides.items()]
        for unit, lengths in [*(sides or [("characters", split.characters)]), ("tokens", split.tokens)]:
            if lengths is None:
                continue
            line = f"  {unit}: median {lengths.median:,.0f}, mean {lengths.mean:,.1f}, 95 % {lengths.p95:,.0f}, "
            line += f"longest {lengths.maximum:,}"
            if lengths.truncated is not None:
                line += f"; {lengths.truncated:.1%} longer than {max_length}, mean kept {lengths.mean_kept:,.1f}"
            out.print(line, markup=False)
        what = "number" if split.numbers else "label"
        out.print(f"  copies of earlier texts: {split.duplicates}; with another {what}: {split.conflicting}")
    if found.test_in_train is not None:
        out.print(
            f"test texts that are also in train: {found.test_in_train}; "
            f"with another {what}: {found.shared_conflicting}"
        )
    if found.validation_in_train is not None:
        out.print(
            f"validation texts that stand in train: {found.validation_in_train}"
            + (
                ""
                if found.test_in_validation is None
                else f"; test texts in validation: {found.test_in_validation}"
            )
        )
    for line in found.warnings:
        out.print(f"note: {line}", markup=False)


@data_app.command("test-texts", epilog="Example: tunebench data test-texts out/study --out test-texts.csv")
def data_test_texts(
    folder: FolderArgument,
    out_file: Annotated[Path, typer.Option("--out", help="The CSV file to write; a new one.", metavar="FILE")],
) -> None:
    """Write the test texts of a study without their labels, for another model to answer."""
    from tunebench.api import write_test_texts
    from tunebench.formatting import command

    count = write_test_texts(folder, out_file)
    out.print(f"{count:,} test texts: {out_file}", markup=False)
    out.print(
        "Add a column answer, and then: " + command("import", out_file, "--into", folder, "--strategy", "NAME"),
        markup=False,
    )
