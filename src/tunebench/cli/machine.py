"""``doctor``, ``bench`` and ``version``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tunebench import __version__
from tunebench.cli.app import JsonOption, ThreadsOption, app
from tunebench.cli.console import out, print_json, tell


@app.command(epilog="Example: tunebench doctor --json")
def doctor(json_: JsonOption = False) -> None:
    """Check this machine: processor, memory, disk, packages, and what is missing."""
    from tunebench.engine.native.loading import kernels_finding
    from tunebench.machine.doctor import examine

    found = [*examine(folder=Path(".")), kernels_finding()]
    if json_:
        print_json([vars(finding) for finding in found])
    else:
        for finding in found:
            mark = {"ok": "ok     ", "note": "note   ", "problem": "problem"}[finding.level]
            advice = f"  ({finding.advice})" if finding.advice else ""
            out.print(f"{mark} {finding.topic:<22} {finding.value}{advice}", markup=False)
    if any(finding.level == "problem" for finding in found):
        raise typer.Exit(1)


@app.command(epilog="Example: tunebench bench --model minilm --grid; tunebench bench --wall --rounds 3 --json")
def bench(
    model: Annotated[
        str | None,
        typer.Option(
            help="distilbert, modernbert, minilm or a model folder; default distilbert, and minilm with --wall, "
            "--serve, --scaling and --choose."
        ),
    ] = None,
    grid: Annotated[
        bool, typer.Option("--grid", help="Also estimate the time of the whole study of the paper, for every side.")
    ] = False,
    compile_: Annotated[
        bool, typer.Option("--compile", help="Also measure the careful Trainer script with torch.compile.")
    ] = False,
    without_native: Annotated[
        bool,
        typer.Option("--without-native", help="Also measure tunebench without its native kernels, as a side."),
    ] = False,
    attention_dropout: Annotated[
        float | None,
        typer.Option(help="Attention dropout of the tunebench side; default that of the model.", min=0, max=0.99),
    ] = None,
    wall: Annotated[
        bool,
        typer.Option(
            "--wall",
            help="Time a whole small study, from the start of the process to the report, against a Trainer script "
            "that does the same trainings and evaluations: full fine-tuning and LoRA on packaged reviews.",
        ),
    ] = False,
    prefix: Annotated[
        bool, typer.Option("--prefix", help="Measure training with cached frozen layers against computing them.")
    ] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Measure serving against a plain pipeline behind the same routes.")
    ] = False,
    scaling: Annotated[
        bool,
        typer.Option(
            "--scaling", help="Measure how cost grows with texts, text length, parameters, runs and workers."
        ),
    ] = False,
    statistics: Annotated[
        bool,
        typer.Option(
            "--statistics",
            help="Count how often intervals cover and decisions are wrong, where the truth is known.",
        ),
    ] = False,
    choose: Annotated[
        str | None,
        typer.Option(
            "--choose",
            help="Measure what choose gives for its time on this data, beside TF-IDF and embeddings with a "
            "logistic regression.",
            metavar="DATA",
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="With --choose or --wall: also autogluon or setfit; behind = the Python of an environment that "
            "has it. May be repeated. With --wall, every side then trains one model.",
            metavar="NAME[=PYTHON]",
        ),
    ] = None,
    labels: Annotated[
        int | None,
        typer.Option(help="With --choose: number of labelled texts; default all. With --wall: default 500.", min=2),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            help="With --choose: how often; each round draws other labels; default 1. With --wall: default 3.",
            min=1,
            max=100,
        ),
    ] = None,
    part: Annotated[
        float,
        typer.Option(help="With --statistics: share of the usual number of simulated studies.", min=0.001, max=10),
    ] = 1.0,
    out_: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="With --scaling: folder for scaling.json and its figure. With --statistics: folder for "
            "coverage.json, which is continued where it was stopped, and coverage.md.",
        ),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            help="Time to spend. At least two rounds are measured. With --choose: time limit of each side.", min=1
        ),
    ] = 420.0,
    threads: ThreadsOption = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show where the time of a tunebench training step goes.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Measure training and evaluation against two plain Trainer scripts, in one session.

    One is the recipe of the paper: fp32, every text padded to 256 tokens. The other is what a careful user writes:
    bf16 where it is faster, batches padded to their longest text, evaluation sorted by length.
    """
    others = tuple(dict.fromkeys(against or ()))
    if choose is not None:
        from tunebench.benchmarks.against import render_against, run_against
        from tunebench.choosing.side import choose_side

        compared = run_against(
            choose,
            choose_side,
            others=others,
            model=model or "minilm",
            labels=labels,
            seconds=seconds,
            rounds=rounds or 1,
            threads=threads,
            tell=tell,
        )
        values, text = compared.to_dict(), render_against(compared)
    elif wall:
        from tunebench.benchmarks.wall import run_wall
        from tunebench.benchmarks.wall_result import render_wall

        whole = run_wall(
            model or "minilm", others=others, labels=labels or 500, rounds=rounds or 3, threads=threads, tell=tell
        )
        values, text = whole.to_dict(), render_wall(whole)
    elif others or labels is not None or rounds is not None:
        raise typer.BadParameter(
            "--against, --labels and --rounds go with --choose or --wall", param_hint="--choose"
        )
    elif serve:
        from tunebench.benchmarks.serving import run_serve_bench
        from tunebench.benchmarks.serving_result import render_serve

        served = run_serve_bench(model or "minilm", seconds=seconds, threads=threads, tell=tell)
        values, text = served.to_dict(), render_serve(served)
    elif scaling:
        from tunebench.benchmarks.scaling import run_scaling_bench
        from tunebench.benchmarks.scaling_result import render_scaling, save_scaling_figure
        from tunebench.files import write_json

        grown = run_scaling_bench(model or "minilm", threads=threads, tell=tell)
        values, text = grown.to_dict(), render_scaling(grown)
        if out_ is not None:
            write_json(out_ / "scaling.json", values)
            save_scaling_figure(grown, out_ / "scaling")
    elif statistics:
        from tunebench.benchmarks.coverage import run_and_render

        values, text = run_and_render(out_, part=part, tell=tell)
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
            model or "distilbert",
            seconds=seconds,
            attention_dropout=attention_dropout,
            compiled=compile_,
            without=without_native,
            threads=threads,
            tell=tell,
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


def _version_option(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version_option, is_eager=True)
    ] = False,
) -> None:
    """Options of the command line itself; what they do happens while they are parsed."""
