"""``choose``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunebench.cli.app import DeviceOption, JsonOption, ThreadsOption, app, check_device
from tunebench.cli.console import err, out, print_json
from tunebench.formatting import counted

_EXAMPLES = (
    "Example: tunebench choose reviews.csv --budget 10m; "
    "tunebench choose reviews.csv --metric accuracy --plan > study.yaml"
)


@app.command(epilog=_EXAMPLES)
def choose(
    data: Annotated[
        str, typer.Argument(help="The data: a packaged name, a file, a folder or a Hub name.", metavar="DATA")
    ],
    budget: Annotated[str, typer.Option(help="Time for everything, such as 10m or 3h.")] = "30m",
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="The model: a packaged name, a folder or a Hub name; default minilm. Repeated, the models are "
            "compared."
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="The metric that decides, such as accuracy or mcc; default that of the task.")
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder for everything; default out/choose-NAME.")
    ] = None,
    text_column: Annotated[str | None, typer.Option(help="Name of the text column.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Name of the label column.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Change a setting of the study, as in run: data.encoding=cp1252, max_length=512."
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the study as YAML, to keep, edit and run. Train nothing.")
    ] = False,
    refit: Annotated[bool, typer.Option(help="Train the chosen method on all labels in the end.")] = True,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Find the method that suits your labelled texts, train it on all of them, and export it.

    Compares methods from cheap to dear within a budget of time. Run again with the same folder, it resumes.
    """
    from tunebench.choosing.job import Options, choose_for, default_folder, make_ready, study_name
    from tunebench.choosing.plan import Asked, plan_study
    from tunebench.choosing.words import plan_yaml
    from tunebench.execution.display import PlainDisplay, make_display
    from tunebench.formatting import command, parse_duration
    from tunebench.machine.settings import Execution

    check_device(device)
    named = {"source": data, "text_column": text_column, "label_column": label_column}
    asked = Asked(
        {key: value for key, value in named.items() if value is not None},
        tuple(dict.fromkeys(model or ["minilm"])),
        metric,
        study_name(data),
        refit,
        tuple(set_ or ()),
    )
    seconds = parse_duration(budget)
    # With --plan nothing is trained, and the plan is all that is printed.
    display = PlainDisplay() if plan else make_display(budget=seconds, silent=json_)
    options = Options(
        budget=seconds,
        folder=out_dir or default_folder(data),
        execution=Execution(device=device, threads=threads),
        display=display,
        tell=display.message,
    )
    if plan:
        out.print(plan_yaml(*plan_study(make_ready(asked, options), options.budget)), markup=False, end="")
        return
    found = choose_for(asked, options)
    if json_:
        print_json(found.to_dict())
    elif not found.interrupted:
        for line in found.lines:
            out.print(line, markup=False)
    if found.interrupted:
        err.print("stopped; the same command resumes it", markup=False)
        raise typer.Exit(130)
    if found.failed:
        err.print(f"{counted(len(found.failed), 'run')} failed: {command('status', found.folder)}", markup=False)
        raise typer.Exit(1)
