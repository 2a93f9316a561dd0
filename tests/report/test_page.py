"""The HTML report in a real browser: it shows, sorts, filters, changes theme, and runs nothing from outside."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from factories import EIGHT
from report.studies import EVIL, make_study_folder
from thorough import thorough
from tunebench.analysis.analysis import analyse
from tunebench.analysis.answer import answer_of
from tunebench.analysis.load import load_comparison
from tunebench.analysis.recommend import recommended
from tunebench.api import write_report
from tunebench.report.figures import FIGURES
from tunebench.report.page import embed_json, write_page
from tunebench.report.sections import SECTIONS
from tunebench.report.source import Source

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two strategies, two sizes and two seeds, with its report; of its pictures, only some are drawn."""
    folder = make_study_folder(tmp_path_factory.mktemp("report"))
    with pytest.MonkeyPatch.context() as patch:
        few = {name: FIGURES[name] for name in ("score_by_size", "loss_curves", "reliability")}
        patch.setattr("tunebench.report.figures.registry.FIGURES", few)
        write_report(folder, run_figures=False)
    return folder / "report.html"


def without_figures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the page of a study without its pictures, which take longer to draw than all else."""
    monkeypatch.setattr("tunebench.report.page._figures", lambda source: [])
    return write_page(Source(analyse(load_comparison(folder)), folder))


@pytest.fixture
def opened(browser: Any) -> Iterator[Open]:
    """Open a page from disk, offline; at the end nothing may have gone wrong in it, nor asked for more."""
    contexts = []

    def open_page(path: Path, size: dict[str, int] = DESKTOP, **options: Any) -> Any:
        context = browser.new_context(viewport=size, offline=True, **options)
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked(request.url, complaints))
        page.goto(path.as_uri())
        contexts.append((context, complaints))
        return page

    def asked(url: str, complaints: list[str]) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            complaints.append(f"asked for {url}")

    yield open_page
    for context, complaints in contexts:
        context.close()
        assert complaints == []


def unfold(page: Any) -> None:
    """Open every section, table and list."""
    page.evaluate("document.querySelectorAll('main details').forEach((fold) => { fold.open = true; })")


def see_all(page: Any) -> None:
    """Open what is folded and scroll every chart into view, so that all are drawn."""
    unfold(page)
    for chart in page.locator(".chart").all():
        chart.scroll_into_view_if_needed()
    # The page's policy forbids evaluated strings, and so playwright's wait_for_function.
    expect(page.locator(".chart:not([data-drawn])")).to_have_count(0)


def test_every_section_is_there_and_every_chart_is_drawn(made: Path, opened: Open) -> None:
    page = opened(made)
    assert page.locator("main details[open].fold").count() == 0
    assert page.locator("main > section").evaluate_all("all => all.map((s) => s.id)") == list(SECTIONS)
    see_all(page)
    assert page.locator(".chart svg").count() >= 3
    analysis = analyse(load_comparison(made.parent))
    found = recommended(analysis)
    assert not isinstance(found, str)
    answer = answer_of(analysis, found)
    assert page.locator("#answer .verdict").inner_text() == answer.verdict
    assert answer.trust in page.locator("#answer .trust").inner_text()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_first_screen_says_what_to_choose_how_sure_and_at_what_cost(
    made: Path, opened: Open, size: dict[str, int]
) -> None:
    page = opened(made, size)
    wanted = ["#answer .verdict", "#answer .winner", "#answer .trust", "#answer .copyable"]
    wanted += ["#answer .candidates tbody tr.chosen .dot"]
    for place in wanted:
        box = page.locator(place).bounding_box()
        assert box is not None and box["y"] + box["height"] <= size["height"], place


def test_score_and_costs_of_a_candidate_stand_apart_on_a_phone(made: Path, opened: Open) -> None:
    gaps = (
        opened(made, PHONE)
        .locator(".candidates tbody tr")
        .evaluate_all(
            """rows => rows.flatMap((row) => {
              const places = [...row.querySelectorAll("td.right")].map((cell) => {
                const words = document.createRange();
                words.selectNodeContents(cell);
                return words.getBoundingClientRect();
              });
              return places.slice(1).map((place, i) => place.left - places[i].right);
            })"""
        )
    )
    assert len(gaps) == 4 and min(gaps) >= 4


#: Of the rows' names, how many lines each takes.
LINES = """names => names.map((name) => {
  const words = document.createRange();
  words.selectNodeContents(name.firstElementChild ?? name);
  return new Set([...words.getClientRects()].map((line) => Math.round(line.top))).size;
})"""


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize(("metric", "most"), [("Macro F1", 1), ("Root mean squared error", 3)])
def test_a_long_metric_takes_lines_rather_than_width(
    made: Path, opened: Open, size: dict[str, int], metric: str, most: int
) -> None:
    page = opened(made, size)
    page.locator(".winner tbody th span").evaluate("(place, metric) => { place.textContent = metric; }", metric)
    table, chart = (page.locator(place).bounding_box() for place in (".winner", ".candidates"))
    assert table is not None and chart is not None
    assert table["x"] + table["width"] <= (chart["x"] if size is DESKTOP else size["width"])
    first, *others = page.locator(".winner tbody th").evaluate_all(LINES)
    assert 1 <= first <= most and set(others) == {1}


def test_the_chart_of_candidates_fits_at_every_width(made: Path, opened: Open) -> None:
    page = opened(made)
    for width in (500, 700, 900, 1160, 1280, 1500):
        page.set_viewport_size({"width": width, "height": 900})
        chart, room = (page.locator(place).bounding_box() for place in (".candidates", "main"))
        assert chart["x"] + chart["width"] <= room["x"] + room["width"] + 1, width


#: Clicks every head of every table twice; a click a call to the browser would take a minute.
SORT = """() => [...document.querySelectorAll("table.sortable")].flatMap((table) =>
  [...table.tHead.querySelectorAll("th:has(button)")].flatMap((head) =>
  ["ascending", "descending"].map((direction) => {
    head.querySelector("button").click();
    const cells = [...table.tBodies[0].rows].map((row) => row.cells[head.cellIndex]);
    return [direction, head.getAttribute("aria-sort"), cells.map((cell) => cell.dataset.sort)];
  })))"""


def test_tables_sort_by_numbers_both_ways_with_the_unknown_last(made: Path, opened: Open) -> None:
    found = opened(made).evaluate(SORT)
    assert len(found) > 100
    for direction, said, keys in found:
        assert said == direction
        known = [key for key in keys if key != ""]
        assert keys == known + [""] * (len(keys) - len(known))
        if all(re.fullmatch(r"-?[\d.]+(e[-+]?\d+)?", key) for key in known):
            values = [float(key) for key in known]
            assert values == sorted(values, reverse=direction == "descending")


def test_a_review_with_markup_stays_text(made: Path, opened: Open) -> None:
    page = opened(made)
    unfold(page)
    page.locator("#text-controls [name=words]").fill("worst film of 1999")
    shown = page.locator("#text-list .text").all_inner_texts()
    assert shown
    assert all(text == EVIL for text in shown)
    assert page.evaluate("window.hacked") is None
    assert page.title() != "hacked"
    assert page.locator("#text-list img, #text-list b, #text-list script").count() == 0
    assert "<script>window.hacked" not in made.read_text(encoding="utf-8")


def test_the_share_of_a_class_stands_behind_a_name_that_is_read_from_the_right(
    made: Path, opened: Open, tmp_path: Path
) -> None:
    other, text = tmp_path / "report.html", made.read_text(encoding="utf-8")
    other.write_text(text.replace('"names":["neg"', '"names":["سلبي"'), encoding="utf-8")
    page = opened(other)
    unfold(page)
    places = page.locator("#text-list :is(.right-answer, .wrong-answer)", has_text="سلبي").evaluate_all(
        """all => all.map((one) => {
          const share = document.createRange();
          share.selectNodeContents(one.lastChild);
          return [one.querySelector("bdi").getBoundingClientRect().right, share.getBoundingClientRect().left];
        })"""
    )
    assert places
    for end, begin in places:
        assert begin >= end - 1


def test_the_browser_of_texts_filters_as_its_words_say(made: Path, opened: Open) -> None:
    page = opened(made)
    unfold(page)
    page.locator("#text-controls [name=kind]").select_option("fail")
    page.locator("#text-controls [name=size]").select_option("")
    for says in page.locator("#text-list .says").all():
        assert says.locator(".right-answer").count() == 0
        assert says.locator(".wrong-answer").count() == 2
    page.locator("#text-controls [name=kind]").select_option("disagree")
    for says in page.locator("#text-list .says").all():
        assert says.locator(".right-answer").count() == says.locator(".wrong-answer").count() == 1
    page.locator("#text-controls [name=kind]").select_option("only lora")
    assert page.locator("#text-list > li").count() > 0
    for says in page.locator("#text-list .says").all():
        assert says.locator("li", has=page.locator(".right-answer")).inner_text().startswith("lora:")
    page.locator("#text-controls [name=words]").fill("no such words in any review")
    assert page.locator("#text-count").inner_text() == "No case fits."


def test_all_charts_tables_and_lists_follow_the_filter(made: Path, opened: Open) -> None:
    page = opened(made)
    see_all(page)
    charts = page.locator(".chart").all()
    before = [int(chart.get_attribute("data-drawn")) for chart in charts]
    page.locator("#filter input[value=lora]").uncheck()
    page.locator("#filter input[value='5000']").uncheck()
    for chart, drawn in zip(charts, before, strict=True):
        expect(chart).to_have_attribute("data-drawn", str(drawn + 2))
    assert page.locator("#filter .count").inner_text() == "2 off"
    assert [text.strip() for text in page.locator(".candidates tbody tr:visible th").all_inner_texts()] == ["full"]
    rows = "#table-intervals tbody tr:visible"
    assert page.locator(f"{rows} td:first-child").all_inner_texts() == ["full"]
    assert page.locator("#table-pairs tbody tr:visible").count() == 0
    assert page.locator("#run-list > details:visible").count() == 2
    assert {text.split(":")[0].strip() for text in page.locator("#text-list .says li").all_inner_texts()} == {
        "full"
    }
    page.locator("#filter button[value=none]").click()
    expect(page.locator("#part-loss .chart")).to_have_text("Nothing is selected.")
    page.locator("#filter button[value=all]").click()
    assert page.locator(rows).count() == 2


def test_a_link_into_what_is_folded_opens_it(made: Path, opened: Open) -> None:
    page = opened(made)
    page.locator("#answer .trust a").click()
    expect(page.locator("#sure > details")).to_have_attribute("open", "")
    page.locator("nav a[href='#errors']").click()
    expect(page.locator("#errors > details")).to_have_attribute("open", "")


def test_a_table_is_cards_on_a_phone_and_says_when_it_is_wider_than_a_desktop(made: Path, opened: Open) -> None:
    phone = opened(made, PHONE)
    unfold(phone)
    first = phone.locator("#table-scores tbody td:nth-child(4)").first
    assert first.evaluate("(cell) => getComputedStyle(cell, '::before').content") == '"Macro F1"'
    page = opened(made)
    unfold(page)
    for line in page.locator(".sideways").all():
        room = line.locator("xpath=following-sibling::div[1]")
        assert line.is_visible() == room.evaluate("(room) => room.scrollWidth > room.clientWidth + 1")
    assert page.locator(".sideways:visible").count() > 0
    column = page.locator("#table-pairs tbody td").first
    assert column.evaluate("(cell) => getComputedStyle(cell).position") == "sticky"


def test_print_shows_what_is_folded(made: Path, opened: Open) -> None:
    page = opened(made)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("main details:not([open]):not(.run, .run details)").count() == 0
    assert not page.locator("#filter").is_visible()


def test_the_theme_follows_the_system_and_the_button(made: Path, opened: Open) -> None:
    page = opened(made, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.locator("#theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert page.evaluate(background) != dark


@pytest.mark.parametrize(
    ("size", "theme"),
    [
        pytest.param(DESKTOP, "light", id="desktop-light"),
        pytest.param(PHONE, "dark", id="phone-dark"),
        pytest.param(DESKTOP, "dark", id="desktop-dark", marks=thorough),
        pytest.param(PHONE, "light", id="phone-light", marks=thorough),
    ],
)
def test_contrast_names_and_keys_pass_an_accessibility_check_and_nothing_is_wider_than_the_window(
    made: Path, opened: Open, theme: str, size: dict[str, int]
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = opened(made, size, color_scheme=theme)
    see_all(page)
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_every_control_is_reached_by_the_tab_key(made: Path, opened: Open) -> None:
    page = opened(made)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    unfold(page)
    names = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        names.add(page.evaluate("document.activeElement.tagName"))
    assert {"A", "BUTTON", "DIV"} <= names
    page.locator("table.sortable th button").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("table.sortable th").first.get_attribute("aria-sort") == "ascending"


@pytest.mark.parametrize(
    ("labels", "sizes", "seeds"),
    [
        pytest.param(("full",), (5_000,), (1,), id="1"),
        pytest.param(tuple(EIGHT)[:5], (1_000, 2_000), tuple(range(4)), id="40"),
        pytest.param(("full", "lora"), (5_000, 10_000, 25_000), (1,), id="6", marks=thorough),
        pytest.param(tuple(EIGHT)[:5], (1_000, 2_000), tuple(range(20)), id="200", marks=thorough),
    ],
)
def test_a_page_of_1_to_200_runs_is_usable(
    tmp_path: Path,
    opened: Open,
    monkeypatch: pytest.MonkeyPatch,
    labels: tuple[str, ...],
    sizes: tuple[int, ...],
    seeds: tuple[int, ...],
) -> None:
    folder = make_study_folder(tmp_path, labels=labels, sizes=sizes, seeds=seeds)
    path = without_figures(folder, monkeypatch)
    assert path.stat().st_size < 5_000_000
    page = opened(path, PHONE)
    see_all(page)
    unfold(page)
    runs = page.locator("#run-list > details")
    assert runs.count() == len(labels) * len(sizes) * len(seeds)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    if len(labels) > 1:
        # The page clips what is too wide, so the longest of these words would end at its edge unseen.
        places = page.locator(".candidates td.standing")
        places.first.evaluate("(cell) => { cell.textContent = 'worse in these runs' }")
        edge = page.locator(".candidates").first.bounding_box()
        inside = places.first.evaluate(
            "(cell) => { const words = document.createRange(); words.selectNodeContents(cell);"
            " return words.getBoundingClientRect().right }"
        )
        assert edge is not None and inside <= edge["x"] + edge["width"] + 1
    if len(seeds) > 1:
        page.locator("[data-filter=run-list] input").fill("lora seed 3")
        assert 0 < page.locator("#run-list > details:visible").count() < runs.count()


def test_states_other_than_complete_are_shown_with_their_reason(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_study_folder(tmp_path, statuses=("complete", "failed", "pending", "out_of_memory"))
    page = opened(without_figures(folder, monkeypatch))
    unfold(page)
    states = set(page.locator("#run-list .state").all_inner_texts())
    assert states == {"complete", "failed", "pending", "out of memory"}


def test_json_in_a_script_element_cannot_end_it() -> None:
    value = {"a": "</script><!--", "b": "&amp;\u2028"}
    text = str(embed_json(value))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value
