"""Figures: what is drawn is the data, nothing overlaps, and the same figure is the same file."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from factories import (
    EIGHT,
    HONEST,
    compare,
    make_cell,
    make_grid,
    make_record,
    make_spec,
    seeds_that_chose,
    with_predictions,
)
from thorough import mostly_thorough
from tunebench.analysis.analysis import Analysis, analyse
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.log_history import binned, last_step, logged_series, mean_by_epoch, mean_curve
from tunebench.analysis.published import reference
from tunebench.data.reference import DataRef
from tunebench.formatting import learning_rate
from tunebench.report.figures import FIGURES, figures_of, save_figures
from tunebench.report.figures.runs import RUN_FIGURES, save_run_figures
from tunebench.report.figures.style import WRITERS, save, styles
from tunebench.report.marks import look
from tunebench.stats import Refusal

SIZES = (500, 1_000, 25_000)


def failed() -> Comparison:
    cells = make_grid(sizes=SIZES[:2], seeds=(1, 2), **HONEST)
    spec = {"size": 500, "seed": 1, **HONEST}
    cells[0] = make_cell("full", status="failed", **spec)
    cells += [make_cell(label, size=SIZES[2], status="left_out", **HONEST) for label in ("full", "lora")]
    return compare(cells)


def many() -> Comparison:
    labels = [f"strategy-{i}" for i in range(18)]
    rates = (1e-5, 1e-4, 1e-3)
    cells = [make_cell(label, size=500, learning_rate=rate, **HONEST) for label in labels for rate in rates]
    cells[0] = make_cell(labels[0], size=500, learning_rate=rates[0], status="failed", **HONEST)
    return compare(cells)


def cuts() -> Comparison:
    """Return full fine-tuning cut in three ways, each at its own rate, and LoRA cut in one."""
    recipes: dict[str, dict[str, Any]] = {
        "full": {"learning_rate": 1e-4},
        "full-tail": {"truncation": "tail"},
        "full-both": {"truncation": "head_tail", "head_share": 0.25},
        "lora": {"kind": "lora", "truncation": "tail"},
    }
    rng = np.random.default_rng(1)
    return compare(
        [
            with_predictions(make_cell(label, size=500, **HONEST, **recipe), rng.random(400) < 0.1)
            for label, recipe in recipes.items()
        ]
    )


def falling() -> Comparison:
    """Return LoRA scoring less with more labels, so that it has no learning curve."""
    return compare(
        [
            make_cell(label, size=size, seed=seed, f1=0.6 if (label, size) == ("lora", 1_000) else None, **HONEST)
            for label in ("full", "lora")
            for size in (500, 1_000, 2_000)
            for seed in (1, 2)
        ]
    )


CASES: dict[str, Any] = {
    "falling": falling,
    "eighteen strategies": many,
    "cuts": cuts,
    "report": lambda: compare(make_grid(), reference="paper"),
    "one run": lambda: compare([make_cell(size=500, **HONEST)]),
    "eight strategies": lambda: compare(make_grid(EIGHT, sizes=SIZES, seeds=(1, 2), **HONEST)),
    "failed": failed,
    "nothing": lambda: compare([make_cell(status="pending")]),
    "last": lambda: compare([make_cell(size=500, learning_rate=rate, selection="last") for rate in (1e-5, 1e-4)]),
    "long name": lambda: compare(
        make_grid(EIGHT, sizes=(500,), **HONEST), name=f"full-against-lora-{'of-ranks-' * 5}"
    ),
    "many sizes": lambda: compare(make_grid(sizes=(100, 200, 400, 800, 1_600), **HONEST)),
}


@cache
def analysis_of(case: str) -> Analysis:
    """Analyse a case, once for all figures of it."""
    return analyse(CASES[case]())


def boxes(figure: Figure) -> list[tuple[str, Any]]:
    """Lay a figure out and return the boxes of what must not overlap."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    found = [(f"panel {i}", axes.get_tightbbox(renderer)) for i, axes in enumerate(figure.axes)]
    found += [("legend", legend.get_window_extent(renderer)) for legend in figure.legends]
    for name in ("_suptitle", "_supxlabel"):
        if (text := getattr(figure, name)) is not None:
            found.append((name, text.get_window_extent(renderer)))
    return found


#: Figures that a study of labels does not have; those of several learning rates or of predictions, which that of
#: the paper lacks here.
OF_NUMBERS = {"predicted_against_true", "residuals"}
OF_MORE = {"score_by_learning_rate", "learning_curves", "score_by_parameters", "differences", "reliability"}


@pytest.mark.parametrize(
    "case", mostly_thorough(CASES, keep=("eighteen strategies", "nothing", "long name").__contains__)
)
@pytest.mark.parametrize("name", FIGURES)
def test_nothing_overlaps_and_nothing_is_cut(name: str, case: str) -> None:
    figure = FIGURES[name](analysis_of(case))
    parts = boxes(figure)
    for (first, a), (second, b) in itertools.combinations(parts, 2):
        width = min(a.x1, b.x1) - max(a.x0, b.x0)
        height = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert width <= 1 or height <= 1, f"{first} and {second} overlap by {width:.0f} x {height:.0f} px"
    for part, box in parts:
        assert box.x0 >= -1 and box.y0 >= -1, f"{part} is cut"
        assert box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1, f"{part} is cut"


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in OF_NUMBERS])
def test_axes_are_labelled_and_sizes_have_separators(name: str) -> None:
    figure = FIGURES[name](analysis_of("report"))
    figure.draw_without_rendering()
    assert all(axes.get_xlabel() for axes in figure.axes)
    assert figure.axes[0].get_ylabel()
    texts = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    if name in ("differences", "score_by_truncation"):  # the report's cells have no predictions to compare
        return
    assert any("25,000" in text for text in texts)
    assert {"full", "lora"} <= set(texts)


def test_strategies_never_differ_by_colour_alone() -> None:
    drawn = list(styles([str(i) for i in range(24)]).values())
    # Where there are no lines, colour and marker are all there is.
    assert len({(style.color, style.marker) for style in drawn}) == 24
    assert len({tuple(look(i).values()) for i in range(24)}) == 24
    assert len({style.color for style in drawn[:8]}) == len({style.marker for style in drawn[:8]}) == 8


@pytest.mark.parametrize("sizes", [(500,), (500, 1_000)])
def test_losses_of_eighteen_strategies_can_be_told_apart(sizes: tuple[int, ...]) -> None:
    labels = [f"strategy-{i}" for i in range(18)]
    figure = FIGURES["loss_curves"](analyse(compare(make_grid(labels, sizes=sizes, **HONEST))))
    assert [axes.get_title() for axes in figure.axes] == (
        labels if len(sizes) == 1 else ["500 examples", "1,000 examples"]
    )
    for axes in figure.axes:
        training = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
        assert len(training) == (1 if len(sizes) == 1 else len(labels))
        assert len({(line.get_color(), line.get_marker()) for line in training}) == len(training)
        for line in training:
            start, every = line.get_markevery()
            assert 3 <= len(line.get_xdata()[start::every]) <= 8


def points(figure: Figure, *, hollow: bool) -> set[float]:
    lines = [line for line in figure.axes[0].lines if (line.get_markerfacecolor() == "none") == hollow]
    return {round(float(y), 9) for line in lines for y in np.asarray(line.get_ydata())}


def test_means_and_published_values_are_where_the_tables_have_them() -> None:
    comparison = CASES["report"]()
    figure = FIGURES["score_by_size"](analyse(comparison))
    assert points(figure, hollow=False) == {round(row["macro_f1"], 9) for row in comparison.rows()}
    assert points(figure, hollow=True) == {
        cell["macro_f1"] for sizes in reference("paper").cells.values() for cell in sizes.values()
    }
    assert FIGURES["score_per_million_by_size"](analyse(comparison)).axes[0].get_yscale() == "log"


@pytest.mark.parametrize(
    "scores",
    [(0.0, 0.0), (0.0, 0.9), (0.01, 0.9), (1.0, 1.0)],
    ids=["all zero", "a zero in a mean", "a bar that reaches below zero", "all one"],
)
def test_scores_at_the_ends_of_their_range_are_drawn_without_a_warning(scores: tuple[float, float]) -> None:
    cells = [
        make_cell(label, seed=seed, f1=f1)
        for label, values in (("full", scores), ("lora", (0.0, 0.0)))
        for seed, f1 in zip((1, 2), values, strict=True)
    ]
    comparison = compare(cells)
    for name in figures_of(analyse(comparison)):
        FIGURES[name](analyse(comparison)).draw_without_rendering()
    figure = FIGURES["score_per_million_by_size"](analyse(comparison))
    words = " ".join(text.get_text() for text in [*figure.texts, *figure.axes[0].texts])
    # What a log axis cannot show is named.
    assert "Not shown, for a log axis has no 0:" in words and "lora at 5,000" in words
    low, high = figure.axes[0].get_ylim()
    row = next(row for row in comparison.rows() if row["strategy"] == "full")
    mean = sum(scores) / 2 / (row["trainable_params"] / 1e6)
    assert ("full at 5,000" in words) == (mean == 0)
    assert mean == 0 or low < mean < high


def test_nothing_is_hollow_without_a_cell_of_the_report() -> None:
    assert points(FIGURES["score_by_size"](analysis_of("one run")), hollow=True) == set()


def test_many_strategies_have_a_panel_each_before_the_others_in_grey() -> None:
    comparison = many()
    figure = FIGURES["score_by_learning_rate"](analyse(comparison))
    assert [axes.get_title() for axes in figure.axes] == comparison.labels
    for axes, group in zip(figure.axes, comparison.groups(), strict=True):
        own = {cell.row["selection_score"] for cell in group.cells if cell.trained}
        coloured = [line for line in axes.lines if line.get_color() != "0.85"]
        assert {float(y) for line in coloured for y in np.asarray(line.get_ydata())} == own
        assert len(axes.lines) - len(coloured) == len(comparison.labels) - 1
        assert axes.get_xscale() == "log"


@pytest.mark.parametrize("labels", [("full", "lora"), tuple(f"strategy-{i}" for i in range(12))])
def test_a_run_that_learnt_nothing_does_not_press_the_others_together(labels: tuple[str, ...]) -> None:
    rates = (1e-5, 1e-4, 1e-3)
    cells = [
        make_cell(label, size=500, learning_rate=rate, f1=0.8 + i / 100, **HONEST)
        for label in labels
        for i, rate in enumerate(rates)
    ]
    whole = FIGURES["score_by_learning_rate"](analyse(compare(cells)))
    assert "below the axis" not in footnotes(whole)
    cells[2] = make_cell(labels[0], size=500, learning_rate=rates[2], f1=0.33, **HONEST)
    figure = FIGURES["score_by_learning_rate"](analyse(compare(cells)))
    assert "below the axis" in footnotes(figure)
    for axes in figure.axes:
        assert 0.33 < axes.get_ylim()[0] < 0.8
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.33"]


def test_every_seed_below_the_axis_is_marked_with_its_score() -> None:
    scores = {
        1e-5: (0.8,) * 3,
        5e-5: (0.81,) * 3,
        1e-4: (0.81, 0.82, 0.7),
        5e-4: (0.8,) * 3,
        1e-3: (0.33, 0.34, 0.35),
    }
    cells = [
        make_cell(label, size=500, learning_rate=rate, seed=seed, f1=f1, **HONEST)
        for label in ("full", "lora")
        for rate, values in scores.items()
        for seed, f1 in enumerate(values)
    ]
    figure = FIGURES["score_by_learning_rate"](analyse(compare(cells)))
    (axes,) = figure.axes
    assert 0.71 < axes.get_ylim()[0] < 0.76
    # Of the rate whose mean is below, the mean; both strategies' at one rate above each other.
    assert sorted(text.get_text() for text in axes.texts) == ["0.34", "0.34", "0.70", "0.70"]
    figure.draw_without_rendering()
    extents = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(extents, 2))
    assert "single seed" in footnotes(figure).split("Triangle")[1]


#: Learning rates near each other and far apart, one and many.
RATES = [(3e-4, 4e-4), (8e-5, 9e-5, 1e-4), (5e-5,), tuple(np.geomspace(1e-5, 2e-2, 14).round(7).tolist())]


@pytest.mark.parametrize(
    ("labels", "rates"),
    mostly_thorough(
        itertools.product([("full",), tuple(f"strategy-{i}" for i in range(8))], RATES),
        keep=lambda case: case[0] == ("full",) or case[1] == RATES[-1],
    ),
)
def test_rates_that_were_tried_are_the_ticks_and_no_label_lies_on_another(
    labels: tuple[str, ...], rates: tuple[float, ...]
) -> None:
    cells = [make_cell(label, size=500, learning_rate=rate, **HONEST) for label in labels for rate in rates]
    figure = FIGURES["score_by_learning_rate"](analyse(compare(cells)))
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert axes.xaxis.get_minorticklocs() == pytest.approx(sorted(set(rates) - set(axes.get_xticks())))
        assert not any(text.get_text() for text in axes.get_xticklabels(minor=True))
        shown = [label for label in axes.get_xticklabels() if label.get_visible() and label.get_text()]
        assert {label.get_text() for label in shown} <= {learning_rate(rate) for rate in rates}
        assert len(axes.get_xticks()) >= min(2, len(rates))
        boxes = [label.get_window_extent() for label in shown]
        assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_marks_of_learning_rates_are_explained_where_they_are_drawn() -> None:
    alone = footnotes(FIGURES["score_by_learning_rate"](analyse(compare(make_grid(sizes=(500,), **HONEST)))))
    assert "Ring" not in alone and "Small dots" not in alone
    seeds = footnotes(
        FIGURES["score_by_learning_rate"](analyse(compare(make_grid(sizes=(500,), seeds=(1, 2), **HONEST))))
    )
    assert "Ring" not in seeds and "Small dots: single seeds." in seeds
    assert "Grey: the other strategies. Ring: the chosen rate." in footnotes(
        FIGURES["score_by_learning_rate"](analysis_of("eighteen strategies"))
    )


def test_a_strategy_without_a_learning_rate_has_no_place_among_them() -> None:
    cells = [make_cell("full", size=500, **HONEST), make_cell("tfidf", kind="tfidf", size=500, **HONEST)]
    figure = FIGURES["score_by_learning_rate"](analyse(compare(cells)))
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [1]
    assert "No learning rate, or none that is known: tfidf." in footnotes(figure)


def test_cuts_of_one_recipe_are_joined_and_nothing_else_is_drawn() -> None:
    comparison = cuts()
    figure = FIGURES["score_by_truncation"](analyse(comparison))
    (axes,) = figure.axes
    (joined,) = [line for line in axes.lines if line.get_linestyle() != "None" and line.get_marker() == "o"]
    entries = {entry.label: entry.interval().estimate for entry in analyse(comparison).at(500)}
    assert list(joined.get_xdata()) == [0, 1, 2]
    assert list(joined.get_ydata()) == [entries[label] for label in ("full", "full-both", "full-tail")]
    assert [text.get_text() for legend in figure.legends for text in legend.get_texts()] == ["full"]


def test_a_figure_of_cuts_is_drawn_where_they_differ() -> None:
    name = "score_by_truncation"
    assert name in figures_of(analyse(cuts())) and name not in figures_of(analysis_of("report"))
    assert set(figures_of(analysis_of("report"))) == set(FIGURES) - {name, *OF_NUMBERS, *OF_MORE}


def footnotes(figure: Figure) -> str:
    return "" if figure._supxlabel is None else figure._supxlabel.get_text()  # type: ignore[attr-defined]


def test_figures_say_what_a_reader_must_know() -> None:
    for maker in FIGURES.values():
        assert "Not shown: 3 of 10 runs" in footnotes(maker(analysis_of("failed")))
    assert "optimistic" in footnotes(FIGURES["score_by_size"](analysis_of("report")))
    assert "optimistic" not in footnotes(FIGURES["score_by_size"](analysis_of("one run")))
    words = [text.get_text() for text in FIGURES["loss_curves"](analysis_of("nothing")).axes[0].texts]
    assert words == ["no finished run yet"]


def wide() -> Comparison:
    """Return two strategies whose two seeds differ much: no axis holds their intervals."""
    texts, rng = 400, np.random.default_rng(0)
    return compare(
        [
            with_predictions(make_cell(label, size=500, seed=seed, **HONEST), rng.random(texts) < seed / 10)
            for label in ("full", "lora")
            for seed in (1, 3)
        ]
    )


@pytest.mark.parametrize(("case", "some_cut"), [(wide, True), (cuts, False)])
def test_a_bar_that_an_axis_cuts_is_said_to_continue(case: Any, some_cut: bool) -> None:
    analysis = analyse(case())
    for name in {"score_by_size", "score_by_parameters", "score_by_truncation"} & figures_of(analysis).keys():
        figure = FIGURES[name](analysis)
        (low, high), *_ = [axes.get_ylim() for axes in figure.axes]
        bars = [part for lines in figure.axes[0].collections for part in lines.get_segments()]  # type: ignore[attr-defined]
        assert bars and any(part[:, 1].min() < low or part[:, 1].max() > high for part in bars) == some_cut
        assert ("A bar at the edge continues." in " ".join(footnotes(figure).split())) == some_cut


@pytest.mark.parametrize("case", ["report", "one run", "falling"])
def test_why_there_is_no_curve_is_said_as_the_fit_has_it(case: str) -> None:
    comparison = CASES[case]()
    said = " ".join(footnotes(FIGURES["learning_curves"](analyse(comparison))).split())
    fits = {curve.label: curve.fit for curve in analyse(comparison).curves}
    reasons = {label: fit.reason for label, fit in fits.items() if isinstance(fit, Refusal)}
    assert reasons and all(f"({reason})." in said for reason in reasons.values())
    assert ("Lines: power law" in said) == (len(reasons) < len(fits))
    assert ("No curve for lora (macro F1 falls" in said) == (case == "falling")


def test_a_figure_of_times_says_that_runs_shared_the_machine() -> None:
    cells = make_grid(sizes=(500,), **HONEST)
    assert "shared the machine" not in footnotes(FIGURES["score_by_train_time"](analyse(compare(cells))))
    assert cells[0].record is not None and cells[0].record.timing is not None
    cells[0].record.timing.contended = True
    comparison = compare(cells)
    (said,) = [line for line in analyse(comparison).warnings if "shared the machine" in line]
    assert said.startswith("1 of 2 runs")
    assert said in footnotes(FIGURES["score_by_train_time"](analyse(comparison)))


def test_files_are_the_same_every_time_and_nothing_else_is_left(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    analysis = analyse(compare(make_grid(sizes=(500,))))
    written = save_figures(analysis, tmp_path / "a")
    assert dict(matplotlib.rcParams) == before
    assert sorted(written) == sorted((tmp_path / "a").iterdir())
    assert {path.name for path in written} == {
        f"{name}.{ending}" for name in figures_of(analysis) for ending in ("png", "svg")
    }
    for name in ("score_by_step", "loss_curves"):
        for path in save(FIGURES[name](analyse(compare(make_grid(sizes=(500,))))), tmp_path / "b" / name):
            assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes(), path.name


def test_a_failed_save_leaves_the_old_file_and_no_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.png").write_bytes(b"old")

    def fail(figure: Figure, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setitem(WRITERS, "png", fail)
    with pytest.raises(OSError, match="disk full"):
        save(Figure(), tmp_path / "x")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("x.png", b"old")]


# One run --------------------------------------------------------------------------------------------


def test_run_figures_are_written_for_what_a_record_has(tmp_path: Path) -> None:
    record = make_record(make_spec(size=500))
    written = save_run_figures(record, tmp_path / "run")
    assert {path.stem for path in written} == set(RUN_FIGURES)
    assert all(path.stat().st_size > 1000 for path in written)
    assert save_run_figures(make_record(make_spec(), status="failed"), tmp_path / "failed") == []


def test_class_names_are_no_markup(tmp_path: Path) -> None:
    names = ("a $100 bill", "x_{y", "中文", "a name that is longer than anybody needs it to be")
    spec = make_spec(size=100, test_size=80, data=DataRef(source="x", fingerprint="x", label_names=names))
    figure = RUN_FIGURES["confusion"](make_record(spec))
    assert figure is not None
    shown = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert shown[:3] == list(names[:3])
    assert len(save(figure, tmp_path / "confusion")) == 2


def test_confusion_shows_every_count() -> None:
    record = make_record(make_spec(size=100))
    figure = RUN_FIGURES["confusion"](record)
    assert figure is not None and record.scores is not None
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == [f"{n:,}" for row in record.scores.confusion for n in row]


def test_seeds_that_chose_other_lengths_of_training_are_not_averaged() -> None:
    cells = seeds_that_chose("epochs", {1: 2, 2: 4, 3: 4}, tuned=("epochs",))
    drawn = FIGURES["score_by_step"](analyse(compare(cells, chosen_by_seed=["full"])))
    ends = [line.get_xdata()[-1] for line in drawn.axes[0].lines]
    logs = {cell.spec.epochs: cell.record.log_history for cell in cells if cell.record is not None}
    assert ends == [logged_series(logs[epochs], "eval_macro_f1").steps[-1] for epochs in (2, 4)]
    assert ends[0] < ends[1] and "have a line of their own" in footnotes(drawn)


def test_nothing_is_drawn_of_a_training_without_steps(tmp_path: Path) -> None:
    by_step = {"loss_curves", "score_by_step"}
    cell = make_cell(**HONEST)
    fitted = replace(
        cell, record=cell.record.model_copy(update={"log_history": [{"step": 9, "epoch": 9.0, "c": 1.0}]})
    )
    assert not by_step & set(figures_of(analyse(compare([fitted]))))
    assert by_step <= set(figures_of(analyse(compare([cell]))))
    pending = compare([make_cell(status="pending")])
    assert by_step <= set(figures_of(analyse(pending))), "a study without results has all figures"


def test_a_pause_does_not_hide_the_other_steps() -> None:
    record = make_record(make_spec(size=5_000))
    assert record.timing is not None
    record.timing.step_seconds[10] = 9_000.0
    figure = RUN_FIGURES["step_seconds"](record)
    assert figure is not None
    assert figure.axes[0].get_ylim()[1] < 10
    assert any("up to 9,000.00 s" in text.get_text() for text in figure.axes[0].get_legend().get_texts())


# Curves ---------------------------------------------------------------------------------------------


def test_a_curve_takes_the_last_entry_of_a_step_and_leaves_out_what_is_not_finite() -> None:
    history = [
        {"step": 2, "epoch": 1.0, "loss": 0.5},
        {"step": 1, "epoch": 0.5, "loss": 0.7},
        {"step": 2, "epoch": 1.0, "eval_loss": 0.9},
        {"step": 2, "epoch": 1.0, "loss": 0.4},
        {"step": 3, "epoch": 1.5, "loss": float("nan")},
        {"step": 4, "epoch": 2.0, "train_loss": 0.1},
    ]
    found = logged_series(history, "loss")
    assert found.steps.tolist() == [1, 2] and found.values.tolist() == [0.7, 0.4]
    assert last_step(history) == 4 and last_step([]) == 0
    assert len(logged_series(history, "eval_macro_f1")) == 0


def test_epoch_means_weigh_by_steps() -> None:
    history = [
        {"step": 1, "epoch": 0.25, "loss": 1.0},
        {"step": 4, "epoch": 1.0, "loss": 0.6},
        {"step": 6, "epoch": 1.5, "loss": 0.4},
        {"step": 8, "epoch": 2.0, "loss": 0.2},
    ]
    epochs, means = mean_by_epoch(logged_series(history, "loss"))
    assert epochs.tolist() == [1, 2]
    assert means == pytest.approx([(1.0 + 3 * 0.6) / 4, 0.3])
    assert len(mean_by_epoch(logged_series([], "loss"))[0]) == 0


def test_mean_curves() -> None:
    x = np.array([1.0, 2.0, 3.0])
    _, mean, low, high = mean_curve([(x, x), (x, 3 * x)])
    assert mean.tolist() == [2, 4, 6] and low.tolist() == [1, 2, 3] and high.tolist() == [3, 6, 9]
    # Different steps: straight lines stay straight lines, over the common range only.
    common, mean, *_ = mean_curve([(x, 2 * x), (np.array([1.5, 4.0]), np.array([3.0, 8.0]))], points=5)
    assert (common[0], common[-1]) == (1.5, 3.0)
    assert mean == pytest.approx(2 * common)
    assert all(len(part) == 0 for part in mean_curve([(x[:0], x[:0])]))
    assert all(len(part) == 0 for part in mean_curve([(x, x), (x + 10, x)]))


def test_bins_hold_every_point_once() -> None:
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.random(500)), rng.random(500)
    for bins in (1, 7, 40):
        centres, means = binned(x, y, bins=bins)
        expected = [y[(x > i / bins) & (x <= (i + 1) / bins)].mean() for i in range(bins)]
        assert means == pytest.approx(expected)
        assert np.all(np.diff(centres) > 0)
    assert binned(np.array([0.0, 1.0]), np.array([1.0, 2.0]), bins=4)[1].tolist() == [1.0, 2.0]
