"""``bench``: one command, and a function for each thing that it measures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tunebench.cli.app import JsonOption, ThreadsOption, app
from tunebench.cli.console import print_json, tell

#: What was measured: as plain values for JSON, and as text.
_Measured = tuple[dict[str, Any], str]


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
        values, text = _choose(
            choose,
            model or "minilm",
            others=others,
            labels=labels,
            seconds=seconds,
            rounds=rounds or 1,
            threads=threads,
        )
    elif wall:
        values, text = _wall(
            model or "minilm", others=others, labels=labels or 500, rounds=rounds or 3, threads=threads
        )
    elif others or labels is not None or rounds is not None:
        raise typer.BadParameter(
            "--against, --labels and --rounds go with --choose or --wall", param_hint="--choose"
        )
    elif serve:
        values, text = _serve(model or "minilm", seconds=seconds, threads=threads)
    elif scaling:
        values, text = _scaling(model or "minilm", threads=threads, folder=out_)
    elif statistics:
        values, text = _statistics(out_, part=part)
    elif prefix:
        values, text = _prefix(model or "distilbert", seconds=seconds, threads=threads)
    elif profile:
        values, text = _profile(model or "distilbert", attention_dropout=attention_dropout, threads=threads)
    else:
        values, text = _steps(
            model or "distilbert",
            seconds=seconds,
            attention_dropout=attention_dropout,
            compiled=compile_,
            without=without_native,
            threads=threads,
            grid=grid,
        )
    if json_:
        print_json(values)
    else:
        sys.stdout.write(text)


def _choose(
    data: str,
    model: str,
    *,
    others: tuple[str, ...],
    labels: int | None,
    seconds: float,
    rounds: int,
    threads: int | None,
) -> _Measured:
    from tunebench.benchmarks.against import render_against, run_against
    from tunebench.choosing.side import choose_side

    found = run_against(
        data,
        choose_side,
        others=others,
        model=model,
        labels=labels,
        seconds=seconds,
        rounds=rounds,
        threads=threads,
        tell=tell,
    )
    return found.to_dict(), render_against(found)


def _wall(model: str, *, others: tuple[str, ...], labels: int, rounds: int, threads: int | None) -> _Measured:
    from tunebench.benchmarks.wall import run_wall
    from tunebench.benchmarks.wall_result import render_wall

    found = run_wall(model, others=others, labels=labels, rounds=rounds, threads=threads, tell=tell)
    return found.to_dict(), render_wall(found)


def _serve(model: str, *, seconds: float, threads: int | None) -> _Measured:
    from tunebench.benchmarks.serving import run_serve_bench
    from tunebench.benchmarks.serving_result import render_serve

    found = run_serve_bench(model, seconds=seconds, threads=threads, tell=tell)
    return found.to_dict(), render_serve(found)


def _scaling(model: str, *, threads: int | None, folder: Path | None) -> _Measured:
    from tunebench.benchmarks.scaling import run_scaling_bench
    from tunebench.benchmarks.scaling_result import render_scaling, save_scaling_figure
    from tunebench.files import write_json

    found = run_scaling_bench(model, threads=threads, tell=tell)
    values = found.to_dict()
    if folder is not None:
        write_json(folder / "scaling.json", values)
        save_scaling_figure(found, folder / "scaling")
    return values, render_scaling(found)


def _statistics(folder: Path | None, *, part: float) -> _Measured:
    from tunebench.benchmarks.coverage import run_and_render

    return run_and_render(folder, part=part, tell=tell)


def _prefix(model: str, *, seconds: float, threads: int | None) -> _Measured:
    from tunebench.benchmarks.prefix import render_prefix, run_prefix_bench

    found = run_prefix_bench(model, seconds=seconds, threads=threads, tell=tell)
    return found.to_dict(), render_prefix(found)


def _profile(model: str, *, attention_dropout: float | None, threads: int | None) -> _Measured:
    from tunebench.benchmarks.profile import render_profile, run_profile

    values = run_profile(model, attention_dropout=attention_dropout, threads=threads, tell=tell)
    return values, render_profile(values)


def _steps(
    model: str,
    *,
    seconds: float,
    attention_dropout: float | None,
    compiled: bool,
    without: bool,
    threads: int | None,
    grid: bool,
) -> _Measured:
    from tunebench.benchmarks.training import render, run_bench

    found = run_bench(
        model,
        seconds=seconds,
        attention_dropout=attention_dropout,
        compiled=compiled,
        without=without,
        threads=threads,
        tell=tell,
    )
    return found.to_dict(), render(found, grid=grid)
