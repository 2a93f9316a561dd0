"""``doctor``, ``bench`` and ``version``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tunebench import __version__
from tunebench.cli.app import JsonOption, app
from tunebench.cli.console import out, print_json, tell


@app.command(epilog="Example: tunebench doctor --json")
def doctor(json_: JsonOption = False) -> None:
    """Say what this machine can do, and what is missing."""
    from tunebench.machine.doctor import examine

    found = examine(folder=Path("."))
    if json_:
        print_json([vars(finding) for finding in found])
    else:
        for finding in found:
            mark = {"ok": "ok     ", "note": "note   ", "problem": "problem"}[finding.level]
            advice = f"  ({finding.advice})" if finding.advice else ""
            out.print(f"{mark} {finding.topic:<22} {finding.value}{advice}", markup=False)
    if any(finding.level == "problem" for finding in found):
        raise typer.Exit(1)


@app.command(epilog="Example: tunebench bench --model minilm --grid")
def bench(
    model: Annotated[
        str | None,
        typer.Option(help="distilbert (the default), minilm (with --serve, --scaling), or a model folder."),
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Estimate the whole paper grid both ways.")] = False,
    attention_dropout: Annotated[
        float | None, typer.Option(help="For our side; default the model's own.", min=0, max=0.99)
    ] = None,
    prefix: Annotated[
        bool, typer.Option("--prefix", help="Measure frozen layers from disk against computing them.")
    ] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Measure serving, and a plain pipeline behind the same routes.")
    ] = False,
    scaling: Annotated[
        bool,
        typer.Option("--scaling", help="Measure how cost grows with texts, length, parameters, runs, workers."),
    ] = False,
    out_: Annotated[
        Path | None, typer.Option("--out", help="With --scaling: a folder for scaling.json and its figure.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time to use; two rounds at least.", min=1)] = 420.0,
    threads: Annotated[
        int | None, typer.Option(help="Compute threads; default all cores.", min=1, max=1024)
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Show instead where our step's time goes.")] = False,
    json_: JsonOption = False,
) -> None:
    """Measure our training and evaluation against a plain Trainer script, in one sitting."""
    if serve:
        from tunebench.benchmarks.serving import render_serve, run_serve_bench

        served = run_serve_bench(model or "minilm", seconds=seconds, threads=threads, tell=tell)
        values, text = served.to_dict(), render_serve(served)
    elif scaling:
        from tunebench.benchmarks.scaling import render_scaling, run_scaling_bench, save_scaling_figure
        from tunebench.files import write_json

        grown = run_scaling_bench(model or "minilm", threads=threads, tell=tell)
        values, text = grown.to_dict(), render_scaling(grown)
        if out_ is not None:
            write_json(out_ / "scaling.json", values)
            save_scaling_figure(grown, out_ / "scaling")
    elif prefix:
        from tunebench.benchmarks.prefix import render_prefix, run_prefix_bench

        frozen = run_prefix_bench(model or "distilbert", seconds=seconds, threads=threads, tell=tell)
        values, text = frozen.to_dict(), render_prefix(frozen)
    elif profile:
        from tunebench.benchmarks.profile import render_profile, run_profile

        values = run_profile(model or "distilbert", attention_dropout=attention_dropout, threads=threads, tell=tell)
        text = render_profile(values)
    else:
        from tunebench.benchmarks.training import render, run_bench

        result = run_bench(
            model or "distilbert", seconds=seconds, attention_dropout=attention_dropout, threads=threads, tell=tell
        )
        values, text = result.to_dict(), render(result, grid=grid)
    if json_:
        print_json(values)
    else:
        sys.stdout.write(text)


@app.command()
def version() -> None:
    """Print the version."""
    out.print(__version__)
