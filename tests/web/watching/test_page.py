"""The page in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from thorough import mostly_thorough, thorough
from web.watching.studies import SCRIPT, advance, complete, every_state, fail, finished, make_specs, make_store

LOOK = "document.dispatchEvent(new Event('visibilitychange'))"
Serve, Open = Callable[[Path], str], Callable[..., Any]


def look(page: Any) -> None:
    """Have the page ask the server now, rather than in some seconds."""
    page.evaluate(LOOK)


def cell(page: Any, run_id: str) -> Any:
    return page.locator(f'button[data-run="{run_id}"]')


def violations(page: Any) -> list[str]:
    return [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in Axe().run(page).response["violations"]]


def fits(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def drawn(page: Any, chart: str) -> int:
    return int(page.locator(f"#{chart} .series path:not(.mark)").count())


def test_every_state_is_said_in_words_beside_colour_and_sign(tmp_path: Path, serve: Serve, open_page: Open) -> None:
    store, specs = every_state(tmp_path)
    with store.locked(specs["running"].run_id):
        page = open_page(serve(tmp_path))
        said = {
            "complete": "complete",
            "failed": "failed",
            "out_of_memory": "out of memory",
            "pruned": "pruned",
            "left_out": "left out",
            "pending": "pending",
            "resumable": "pending, to be resumed",
            "running": "running",
        }
        looks = {}
        for name, words in said.items():
            mark = cell(page, specs[name].run_id).locator(".state")
            expect(mark).to_have_text(re.compile(rf"^\S{words}$"))
            sign = mark.locator("[aria-hidden]").inner_text()
            looks[words.split(",")[0]] = (sign, mark.evaluate("node => getComputedStyle(node).color"))
        assert len({sign for sign, _ in looks.values()}) == len(looks)
        expect(page.locator("#status")).to_contain_text("1 of 9 runs complete")
        expect(page.locator("#failure-list")).to_contain_text("the loss is not finite")
        expect(page.locator("#failure-list")).to_contain_text("unable to allocate 9.1 GiB")
        page.select_option("#state", "failed")
        expect(page.locator(".cell:visible")).to_have_count(2)
        page.select_option("#state", "")
        page.fill("#search", "lora 1000")
        expect(page.locator(".cell:visible")).to_have_count(
            sum(spec.label == "lora" and spec.train_size == 1_000 for spec in specs.values())
        )


@pytest.mark.parametrize(
    ("width", "scheme"),
    mostly_thorough(
        [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")],
        keep=lambda case: case in ((1280, "light"), (390, "dark")),
    ),
)
def test_it_is_accessible_in_every_state(
    tmp_path: Path, serve: Serve, open_page: Open, width: int, scheme: str
) -> None:
    store, specs = every_state(tmp_path)
    with store.locked(specs["running"].run_id):
        page = open_page(serve(tmp_path), width=width, color_scheme=scheme)
        cell(page, specs["script"].run_id).click()
        expect(page.locator("#traceback")).to_contain_text("Traceback")
        page.locator("#detail-trace summary").click()
        assert violations(page) == []
        assert fits(page)


def test_the_check_for_accessibility_finds_something(serve: Serve, open_page: Open, tmp_path: Path) -> None:
    make_store(tmp_path, make_specs(1))
    page = open_page(serve(tmp_path))
    page.evaluate("document.querySelector('#status').style.color = '#ddd'")
    assert any("color-contrast" in found for found in violations(page))


def test_markup_in_names_reasons_and_logs_stays_text(tmp_path: Path, serve: Serve, open_page: Open) -> None:
    store, specs = every_state(tmp_path)
    store.plan_file.write_text(store.plan_file.read_text().replace('"watched"', '"<img src=x> <b>study</b>"'))
    page = open_page(serve(tmp_path))
    cell(page, specs["script"].run_id).click()
    expect(page.locator("#name")).to_have_text("<img src=x> <b>study</b>")
    for place in ("#failure-list", "#detail-reason", "#log"):
        expect(page.locator(place)).to_contain_text(SCRIPT)
    expect(page.locator("#traceback")).to_have_text(re.compile(re.escape(SCRIPT)))
    assert page.locator("main img, main script, h1 b, h1 img").count() == 0
    assert "planted" not in page.title()


def test_the_page_follows_a_folder_that_changes(tmp_path: Path, serve: Serve, open_page: Open) -> None:
    specs = make_specs(3)
    store = make_store(tmp_path, specs)
    page = open_page(serve(tmp_path))
    expect(page.locator("#status")).to_have_text("0 of 3 runs complete, 3 pending.")
    first = cell(page, specs[0].run_id)
    with store.locked(specs[0].run_id):
        store.run_folder(specs[0].run_id).begin(specs[0])
        advance(store, specs[0], 25)
        look(page)
        expect(first.locator(".state")).to_contain_text("running")
        expect(first).to_have_attribute("aria-pressed", "true")  # followed, as it runs
        expect(page.locator("#loss .series path.dashes")).to_have_count(1)
        before = page.locator("#loss .series path").first.get_attribute("d")
        expect(page.locator("#chosen")).to_contain_text("25 of 100")
        advance(store, specs[0], 60)
        look(page)
        expect(page.locator("#chosen")).to_contain_text("60 of 100")
        expect(page.locator("#loss .series path").first).not_to_have_attribute("d", before)
        assert drawn(page, "score") == 1
    complete(store, specs[0])
    fail(store, specs[1], "broken for a reason")
    look(page)
    expect(first.locator(".state")).to_contain_text("complete")
    expect(page.locator("#status")).to_have_text("1 of 3 runs complete, 1 pending, 1 failed.")
    expect(page.locator("#failure-list")).to_contain_text("broken for a reason")
    assert page.locator("#status").get_attribute("role") == "status"


def test_it_asks_by_itself(tmp_path: Path, serve: Serve, open_page: Open) -> None:
    specs = make_specs(1)
    store = make_store(tmp_path, specs)
    with store.locked(specs[0].run_id):
        advance(store, specs[0], 10)
        page = open_page(serve(tmp_path))
        expect(page.locator("#chosen")).to_contain_text("10 of 100")
        advance(store, specs[0], 20)
        expect(page.locator("#chosen")).to_contain_text("20 of 100", timeout=20_000)


def test_a_server_that_went_away_is_said(tmp_path: Path, serve: Serve, browser: Any) -> None:
    make_store(tmp_path, make_specs(1))
    context = browser.new_context()
    page = context.new_page()
    page.goto(serve(tmp_path))
    page.wait_for_selector(".cell")
    page.route("**/api/**", lambda route: route.abort())
    look(page)
    expect(page.locator("#problem")).to_contain_text("not reached")
    page.unroute("**/api/**")
    look(page)
    expect(page.locator("#problem")).to_be_hidden()
    context.close()


def test_the_theme_switches_and_is_remembered(tmp_path: Path, serve: Serve, open_page: Open) -> None:
    make_store(tmp_path, make_specs(1))
    page = open_page(serve(tmp_path), color_scheme="light")

    def paper() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = paper()
    page.click("#theme")
    dark = paper()
    assert dark != light
    page.reload()
    page.wait_for_selector(".cell")
    assert paper() == dark
    expect(page.locator("#theme")).to_have_text("Light theme")


def test_it_works_by_keyboard_and_shows_the_focus(tmp_path: Path, serve: Serve, open_page: Open) -> None:
    store = finished(tmp_path, 2)
    ids = [planned.spec.run_id for planned in store.planned()]
    page = open_page(serve(tmp_path))
    page.click("#clear")
    expect(page.locator("#nothing")).to_be_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.run") == ids[0]
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(cell(page, ids[0])).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#loss .series path.dashes")).to_have_count(1)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.locator("#chosen tr")).to_have_count(2)
    expect(page.locator("#score .series")).to_have_count(2)  # its curves are asked for, and come later than its row
    page.select_option("#axis", "step")
    page.locator("#score > div").focus()
    page.keyboard.press("End")
    last = page.locator("#score .readout").inner_text()
    assert re.match(r"step \d+ — full.*: 0\.\d{4}; lora.*: 0\.\d{4}$", last)
    page.keyboard.press("ArrowLeft")
    assert page.locator("#score .readout").inner_text() != last
    page.keyboard.press("Escape")
    expect(page.locator("#score .readout")).to_have_text("")
    page.locator("#chosen .remove").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#chosen tr")).to_have_count(1)


def test_what_is_drawn_is_what_was_logged(tmp_path: Path, serve: Serve, open_page: Open) -> None:
    """The last point of the F1 curve, read off by keyboard, is the record's last evaluation."""
    store = finished(tmp_path, 1)
    (planned,) = store.planned()
    record = store.run_folder(planned.spec.run_id).read()
    assert record is not None
    scores = [entry["eval_macro_f1"] for entry in record.log_history if "eval_macro_f1" in entry]
    page = open_page(serve(tmp_path))
    page.wait_for_selector("#score .series path")
    page.locator("#score > div").focus()
    read = []
    for key in ("Home", *["ArrowRight"] * (len(scores) - 1)):
        page.keyboard.press(key)
        read.append(float(page.locator("#score .readout").inner_text().rsplit(": ", 1)[1]))
    assert read == [round(score, 4) for score in scores]
    heights = page.evaluate(
        "() => [...document.querySelector('#score .series path').getAttribute('d')"
        ".matchAll(/[ML]\\S+ (\\S+?)(?=L|$)/g)].map((found) => Number(found[1]))"
    )
    # Higher scores are drawn higher, in proportion.
    for i in range(1, len(scores)):
        assert (heights[i] < heights[i - 1]) == (scores[i] > scores[i - 1])


@pytest.mark.parametrize(
    ("count", "width"),
    mostly_thorough(
        [(1, 1280), (1, 390), (6, 1280), (6, 390), (200, 1280), (200, 390)],
        keep=lambda case: case in ((6, 1280), (200, 390)),
    ),
)
def test_any_number_of_runs_is_usable(
    tmp_path: Path, serve: Serve, open_page: Open, count: int, width: int
) -> None:
    store = finished(tmp_path, count)
    last = store.planned()[-1].spec
    page = open_page(serve(tmp_path), width=width)
    expect(page.locator(".cell")).to_have_count(count)
    expect(page.locator("#status")).to_contain_text(f"{count} of {count} run")
    page.wait_for_selector("#loss .series path")
    assert drawn(page, "score") == min(count, 4)
    assert fits(page)
    boxes = page.evaluate(
        "() => [...document.querySelectorAll('.cell')].map((c) => [c.scrollWidth <= c.clientWidth, c.offsetHeight])"
    )
    assert all(whole and height >= 40 for whole, height in boxes)  # nothing clipped, large enough for a finger
    page.fill("#search", f"{last.label} {last.train_size} seed {last.seed}")
    if width == 1280:
        assert violations(page) == []
    page.fill("#search", last.run_id)
    expect(page.locator(".cell:visible")).to_have_count(1)


def test_no_more_than_eight_runs_are_chosen_each_with_a_sign_of_its_own(
    tmp_path: Path, serve: Serve, open_page: Open
) -> None:
    finished(tmp_path, 12)
    page = open_page(serve(tmp_path))
    page.click("#clear")
    for place in range(12):
        page.locator(".cell").nth(place).click()
    expect(page.locator(".cell[aria-pressed=true]")).to_have_count(8)
    expect(page.locator("#score .series")).to_have_count(8)
    signs = page.eval_on_selector_all("#chosen .mark", "marks => marks.map((mark) => mark.getAttribute('d'))")
    assert len(set(signs)) == 8


@thorough
def test_a_page_left_open_does_not_grow(tmp_path: Path, serve: Serve, open_page: Open) -> None:
    specs = make_specs(4)
    store = make_store(tmp_path, specs)
    with store.locked(specs[0].run_id):
        advance(store, specs[0], 90)
        page = open_page(serve(tmp_path))
        page.wait_for_selector("#loss .series path")
        counts = []
        for turn in range(6):
            advance(store, specs[0], 91 + turn)
            look(page)
            expect(page.locator("#chosen")).to_contain_text(f"{91 + turn} of 100")
            for chart in ("loss", "score"):  # drawn anew, which a busy machine may show half done
                expect(page.locator(f"#{chart} .series path").first).to_be_attached()
            counts.append(page.evaluate("document.querySelectorAll('*').length"))
        assert max(counts) - min(counts) <= 10
