"""``confirm`` and ``ledger``: how often test texts are looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunebench.cli.app import DeviceOption, FolderArgument, JsonOption, app, check_device
from tunebench.cli.console import out, print_json, print_rows, tell
from tunebench.formatting import command, counted


@app.command(epilog="Example: tunebench confirm out/mine")
def confirm(
    folder: FolderArgument,
    device: DeviceOption = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads; default all cores.", min=1, max=1024)] = None,
    json_: JsonOption = False,
) -> None:
    """Score the recommended strategy on the sealed test texts. They open once (sealed: true in the study)."""
    from tunebench.analysis.confirmed import confirmation_of
    from tunebench.analysis.load import load_comparison
    from tunebench.execution.confirm import confirm_study
    from tunebench.machine.settings import Execution

    check_device(device)
    found = confirm_study(folder, execution=Execution(device=device, threads=threads), tell=tell)
    if json_:
        print_json(found.model_dump(mode="json"))
        return
    said = confirmation_of(load_comparison(folder), found.strategy, found.train_size)
    out.print(said, markup=False)
    out.print(f"The report shows it too: {command('report', folder)}", markup=False)


@app.command(epilog="Example: tunebench ledger out docs/results --note")
def ledger(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of studies, or folders that hold some.", metavar="DIR...")
    ],
    note: Annotated[
        bool, typer.Option("--note", help="Write the counts into each study's folder, for its report.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Count how many runs of how many studies were scored on the same test texts."""
    from tunebench.analysis.ledger import make_ledger, note_counts

    found = make_ledger(folders)
    if note:
        note_counts(found)
    if json_:
        print_json(
            {
                "parts": [part.to_dict() for part in found.parts],
                "of_study": {str(folder): number for folder, number in found.of_study.items()},
                "runs": found.runs,
                "skipped": found.skipped,
            }
        )
        return
    print_rows(
        [
            {
                "part": number,
                "texts": f"{part.texts:,}",
                "runs": part.runs,
                "studies": len(part.studies),
                "runs a text": f"{part.times:.1f}",
                "inside": ", ".join(str(one + 1) for one in part.inside) or None,
                "shares": ", ".join(f"{count:,} with {one + 1}" for one, count in part.overlaps.items()) or None,
                "names": ", ".join(part.studies),
            }
            for number, part in enumerate(found.parts, 1)
        ]
    )
    studies = counted(len(found.of_study), "study", "studies")
    parts = counted(len(found.parts), "different test part")
    out.print(f"{counted(found.runs, 'run')} of {studies}, {parts}")
    if not all(part.by_content for part in found.parts):
        out.print(
            "Some studies do not say which texts they scored: they are compared by data set and row, so that the "
            "same text in other data is not found. Where the data is not known, as of some imported runs, no text "
            "is found in another study."
        )
    for where, why in found.skipped.items():
        out.print(f"Left out: {where}: {why}", markup=False)
