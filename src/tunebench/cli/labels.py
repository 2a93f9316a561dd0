"""``labels``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunebench.cli.app import DeviceOption, FolderArgument, JsonOption, ThreadsOption, app, check_device
from tunebench.cli.console import out, print_json
from tunebench.cli.read_options import ReadOption, read_options
from tunebench.formatting import counted

if TYPE_CHECKING:
    from tunebench.labelling.found import LabelsFound

#: Suspects that are printed; the files hold all.
_PRINTED = 5


@app.command(epilog="Example: tunebench labels out/choose-questions --unlabelled more.csv")
def labels(
    folder: FolderArgument,
    unlabelled: Annotated[
        Path | None,
        typer.Option(help="A table of texts without labels: propose which of them to label next.", metavar="FILE"),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="With --unlabelled: name of the text column; default that of the study.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="With --unlabelled: names of several columns, such as premise,hypothesis; default those of the "
            "study."
        ),
    ] = None,
    set_: ReadOption = None,
    count: Annotated[int, typer.Option(help="With --unlabelled: how many texts to propose.", min=1)] = 100,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder for the files; default labels in the study's folder.")
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Say what twice the labels would bring, which labels are likely wrong, and which texts to label next."""
    from tunebench.execution.display import make_display
    from tunebench.labelling.job import study_labels
    from tunebench.machine.settings import Execution

    check_device(device)
    options = read_options(set_, unlabelled, "--unlabelled")
    display = make_display(silent=json_)
    try:
        found = study_labels(
            folder,
            unlabelled=unlabelled,
            columns=_columns(column, columns),
            options=options,
            count=count,
            out=out_dir,
            execution=Execution(device=device, threads=threads),
            doing=display.stage,
        )
    finally:
        display.stop()
    if json_:
        print_json(_plain(found))
        return
    for line in _lines(found):
        out.print(line, markup=False)


def _columns(column: str | None, columns: str | None) -> list[str] | None:
    if column is not None and columns is not None:
        raise typer.BadParameter("--column and --columns both name the texts; drop one of them")
    return [column] if column is not None else None if columns is None else columns.split(",")


def _lines(found: LabelsFound) -> list[str]:
    lines = ["Would twice the labels help?", *(f"  {one.sentence}" for one in found.doublings)]
    lines.append("Which labels are likely wrong?")
    if found.refused:
        lines.append(f"  They were not looked at: {found.refused}.")
        return lines
    share = len(found.suspects) / max(1, found.texts)
    such = ", such as:" if found.suspects else ""
    lines.append(f"  {len(found.suspects):,} of {found.texts:,} ({share:.1%}){such}")
    for suspect in found.suspects[:_PRINTED]:
        text = " ".join(suspect.text.split())
        shown = text if len(text) <= 60 else text[:57] + "..."
        lines.append(f"  {suspect.label} -> {suspect.likely}: {shown} ({suspect.part}, row {suspect.row})")
    if found.next_texts is not None:
        lines.append("Which texts to label next?")
        count = len(found.next_texts)
        lines.append(f"  {counted(count, 'text')} that the model is least sure of, spread over what they are about")
        lines += [f"  {note}" for note in found.reading]
        if found.passed_over:
            lines.append(f"  Passed over: {'; '.join(found.passed_over)}")
    return [*lines, "Files:", *(f"  {path}" for path in found.files)]


def _plain(found: LabelsFound) -> dict[str, Any]:
    values = asdict(found)
    values["doublings"] = [
        {"strategy": one.label, "labels": one.labels, "now": one.now, "sentence": one.sentence}
        for one in found.doublings
    ]
    return values | {"files": [str(path) for path in found.files]}
