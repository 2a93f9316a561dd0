"""``import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tunebench.cli.app import JsonOption, app
from tunebench.cli.console import out, print_json, print_tables, tell
from tunebench.formatting import command, counted


@app.command(
    "import",
    epilog="Example: tunebench import results/full_5k results/lora_5k --out out/theirs --set data=imdb; "
    "tunebench import gpt.csv --into out/study --price '1.94 USD'",
)
def import_(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Output folders of Trainer scripts, one for each run; with --into, a table of answers.",
            metavar="FOLDER...",
        ),
    ],
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder for the imported study; new or empty.", metavar="DIR")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="State what the folders do not say: KEY=VALUE for all, FOLDER:KEY=VALUE for one."
        ),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(help="Folder of a study whose test texts another model answered.", metavar="DIR"),
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="With --into: what the answers are called; default as the file.")
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(
            help="With --into: how rows say which text they answer: row, text or order; default the column row, or "
            "else the text."
        ),
    ] = None,
    answer_column: Annotated[
        str | None, typer.Option(help="With --into: name of the column of answers; default answer or prediction.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="With --into: seconds that all answers together took.")
    ] = None,
    price: Annotated[
        str | None,
        typer.Option(help="With --into: price of all answers together, such as '1.94 USD'.", metavar="PRICE"),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Import runs of other Trainer scripts, or another model's answers. Unknown settings stay null."""
    answers = {"strategy": strategy, "match": match, "column": answer_column, "seconds": seconds, "price": price}
    _check(folders, out_dir, into, set_, answers)
    if into is not None:
        _answers(folders[0], into, answers, json_=json_)
    else:
        assert out_dir is not None
        _runs(folders, out_dir, set_ or [], json_=json_)


def _check(
    folders: list[Path], out_dir: Path | None, into: Path | None, set_: list[str] | None, answers: dict[str, Any]
) -> None:
    """Refuse options that do not go together."""
    if (out_dir is None) == (into is None):
        files = [folder for folder in folders if folder.is_file()]
        raise typer.BadParameter(
            f"{files[0]} is a file. Answers to the test texts of a study go into that study: --into DIR"
            if files and into is None
            else "imported runs go to a new folder (--out); answers go into the folder of a study (--into)",
            param_hint="--out",
        )
    if into is None:
        if any(value is not None for value in answers.values()):
            raise typer.BadParameter("--strategy, --match, --answer-column, --seconds and --price go with --into")
        return
    if len(folders) > 1:
        raise typer.BadParameter("--into takes one file of answers at a time", param_hint="FOLDER...")
    if set_:
        raise typer.BadParameter("--set is for folders of Trainer scripts", param_hint="--set")
    if answers["match"] not in (None, "row", "text", "order"):
        raise typer.BadParameter(f"{answers['match']!r}: allowed are row, text, order", param_hint="--match")


def _answers(file: Path, into: Path, answers: dict[str, Any], *, json_: bool) -> None:
    from tunebench.analysis.analysis import analyse
    from tunebench.analysis.load import load_comparison
    from tunebench.api import import_answers
    from tunebench.report.tables import make_tables

    joined = import_answers(file, into, **answers)
    if json_:
        print_json({**vars(joined), "study": str(into)})
        return
    print_tables(make_tables(analyse(load_comparison(into)), ["scores", "front"]), style="text")
    for line in joined.notes:
        out.print(f"note: {line}", markup=False)
    sizes = ", ".join(f"{size:,}" for size in joined.sizes)
    stand = counted(joined.texts, "answer stands", "answers stand")
    out.print(f"{stand} in the study as {joined.label}, at {sizes} labels.", markup=False)
    out.print(f"Next: {command('recommend', into)}", markup=False)


def _runs(folders: list[Path], out_dir: Path, settings: list[str], *, json_: bool) -> None:
    from tunebench.analysis.analysis import analyse
    from tunebench.api import import_runs
    from tunebench.report.tables import make_tables

    comparison = import_runs(folders, folder=out_dir, settings=settings, tell=tell)
    if json_:
        print_json(comparison.rows())
        return
    analysis = analyse(comparison)
    print_tables(make_tables(analysis, ["scores", "time", "score_per_million"]), style="text")
    for line in analysis.warnings:
        out.print(f"note: {line}", markup=False)
    out.print(f"{counted(len(comparison.cells), 'run')} imported; next: {command('report', out_dir)}", markup=False)
