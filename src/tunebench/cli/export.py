"""``export`` and ``predict``."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from tunebench.cli.app import DeviceOption, FolderArgument, JsonOption, app
from tunebench.cli.console import out, print_json, print_rows, tell
from tunebench.cli.read_options import ReadOption, read_options
from tunebench.formatting import file_size


@app.command(epilog="Example: tunebench export out/quickstart --format merged --out models/reviews")
def export(
    folder: FolderArgument,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the export; new or empty.")],
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="adapter, merged, linear, onnx or onnx-int8; default linear for linear classifiers, else merged.",
        ),
    ] = None,
    run_id: Annotated[
        str | None, typer.Option("--run", help="The run to export; default the best on validation.")
    ] = None,
    recommended: Annotated[
        bool, typer.Option("--recommended", help="Export a run of the strategy that the study recommends.")
    ] = False,
    push: Annotated[
        str | None, typer.Option(help="Upload the export to this Hub repository.", metavar="REPO")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --push: list the files, upload nothing.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Export a trained classifier as a folder that other programs load, checked against its run."""
    from tunebench.inference.export import export_run
    from tunebench.inference.export.push import check_repository, upload_list
    from tunebench.inference.export.push import push as upload
    from tunebench.tasks.registry import metric_label

    if dry_run and push is None:
        raise typer.BadParameter("it says what --push would upload, so it needs --push", param_hint="--dry-run")
    if push is not None:
        check_repository(push)
    done = export_run(folder, out=out_dir, format=format_, run_id=run_id, recommended=recommended, tell=tell)
    if push is not None and dry_run:
        files = upload_list(done.folder)
        print_json(files) if json_ else print_rows(files)
        return
    url = None if push is None else upload(done.folder, push)
    if json_:
        print_json(done.facts)
        return
    check = done.facts["check"]
    out.print(f"Run: {done.facts['run_id']}", markup=False)
    out.print(
        f"On {check['texts']} texts: {check['equal_predictions']:.2%} equal predictions, largest logit difference "
        f"{check['largest_logit_difference']:.2g}, {metric_label(check['metric'])} "
        f"{_score(check['score_before'])} -> {_score(check['score_after'])}"
    )
    out.print(f"Export: {done.folder} ({file_size(check['bytes'])})", markup=False)
    if url is not None:
        out.print(f"Uploaded: {url}", markup=False)


def _score(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"


@app.command(epilog='Example: tunebench predict models/reviews "a lovely film" "a dull one"')
def predict(
    path: Annotated[
        Path, typer.Argument(help="An export, a PEFT adapter, or the folder of a run.", metavar="PATH")
    ],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts to classify, two for each pair; - reads lines of standard input.", metavar="TEXT"
        ),
    ] = None,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", help="Read the texts from this CSV file of any size; UTF-8, with commas."),
    ] = None,
    table_file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            help="Read the texts from this file as training does: CSV with any separator and encoding, TSV, JSON, "
            "Parquet, Excel, packed or not.",
        ),
    ] = None,
    jsonl_file: Annotated[
        Path | None, typer.Option("--jsonl", help="Read the texts from the JSON objects of this file, one a line.")
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="Name of the text column in the file; default that of training, or a usual name."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Names of several columns, such as premise,hypothesis; default those the model was trained on."
        ),
    ] = None,
    set_: ReadOption = None,
    format_: Annotated[str, typer.Option("--format", help="Output format: jsonl or csv.")] = "jsonl",
    json_: Annotated[bool, typer.Option("--json", help="Same as --format jsonl.")] = False,
    device: DeviceOption = "auto",
    threads: Annotated[int | None, typer.Option(help="Number of threads.", min=1, max=1024)] = None,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
) -> None:
    """Print the most likely label of each text, with its probability.

    The answers come in the order of the texts. A model of several labels a text prints all of them; a model of
    numbers prints the number.
    """
    if format_ not in ("jsonl", "csv"):
        raise typer.BadParameter(f"{format_!r}: allowed are jsonl, csv", param_hint="--format")
    if json_ and format_ == "csv":
        raise typer.BadParameter("it is --format jsonl, and --format csv is given: drop one", param_hint="--json")
    if sum([bool(texts), *(file is not None for file in (csv_file, jsonl_file, table_file))]) != 1:
        raise typer.BadParameter(
            "give one of these: texts, - for lines of standard input, --file FILE, --csv FILE, --jsonl FILE",
            param_hint="TEXT",
        )
    options = read_options(set_, table_file, "--file")
    option, named = ("--column", column) if columns is None else ("--columns", columns)
    if column is not None and columns is not None:
        raise typer.BadParameter("it names one column, and --columns several: drop one", param_hint="--column")
    if named is not None and texts and (columns is None or texts != ["-"]):
        raise typer.BadParameter("it names what to read of a file, and none is given", param_hint=option)
    names = named if named is None else [named] if columns is None else named.split(",")
    from tunebench.inference.predictor import load
    from tunebench.inference.reading import read_texts
    from tunebench.inference.stream import answer_of, predict_stream

    predictor = load(path, device=device, threads=threads, precision=precision)  # type: ignore[arg-type]
    source = read_texts(
        predictor.inputs,
        texts or [],
        stdin=sys.stdin.buffer,
        csv_file=csv_file,
        jsonl_file=jsonl_file,
        table_file=table_file,
        options=options,
        columns=names,
        tell=tell,
    )
    write = _writer(format_, answer_of(predictor.artifact.task))
    for prediction in predict_stream(predictor, source):
        write(asdict(prediction))


def _writer(style: str, kind: type[Any]) -> Any:
    """Return what writes one line, of answers of a kind; the header of CSV is written at once."""
    if style == "csv":
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow([field.name for field in fields(kind)])
        return lambda found: rows.writerow([_csv_value(value, kind.digits) for value in found.values()])

    def write(found: dict[str, Any]) -> None:
        shown = {name: _rounded(value, kind.digits) for name, value in found.items()}
        sys.stdout.write(json.dumps(shown) + "\n")

    return write


def _csv_value(value: Any, digits: str) -> str:
    from tunebench.formatting import csv_cell

    if isinstance(value, float):
        return format(value, digits)
    return csv_cell(value) if isinstance(value, str) else json.dumps(_rounded(value, digits))


def _rounded(value: Any, digits: str) -> Any:
    """Return a value, or each of several, with no more digits than the format has."""
    if isinstance(value, (tuple, list)):
        return [_rounded(one, digits) for one in value]
    return float(format(value, digits)) if isinstance(value, float) else value
