"""The page of suspect labels in a real browser: any label fits, reads in its order, and is decided by keyboard."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunebench.labelling.found import Suspect
from tunebench.labelling.page import suspects_page

#: As long as a label may be, from right to left, with markup and as a formula, and plain.
LABELS = ("x" * 200, "مرحبا", '<b>a"b</b>', "=1+1", "plain")
TEXTS = ("y" * 300, "And so on. " * 300, "<img src=x onerror='document.title=1'>", "a fine film", "a dull film")
PHONE = {"width": 390, "height": 844}
Open = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Open the page of five suspects, offline; at the end it may not have complained."""
    suspects = [
        Suspect("train", row, text, label, LABELS[row % len(LABELS)], 0.1, 0.8)
        for row, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True), start=1)
    ]
    path = tmp_path / "suspects.html"
    path.write_text(suspects_page("films", suspects, LABELS, 9), encoding="utf-8")
    complaints: list[str] = []
    contexts = []

    def open_page(**options: Any) -> Any:
        contexts.append(browser.new_context(offline=True, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_any_label_fits_a_phone_and_the_page_is_accessible(opened: Open, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = opened(viewport=PHONE, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    edges = page.locator("article :is(button, strong, .text)").evaluate_all(
        "all => all.map((one) => one.getBoundingClientRect().right)"
    )
    assert len(edges) == 5 * len(LABELS) and max(edges) <= PHONE["width"]
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.locator("main b, main img").count() == 0


def test_a_share_stands_behind_a_label_that_is_read_from_the_right(opened: Open) -> None:
    shown = opened().locator("article .meta span:not(.soft)", has_text=LABELS[1])
    places = shown.evaluate_all(
        """all => all.map((one) => {
          const share = document.createRange();
          share.selectNodeContents(one.lastChild);
          return [one.querySelector("strong").getBoundingClientRect().right, share.getBoundingClientRect().left];
        })"""
    )
    assert len(places) == 2
    for end, begin in places:
        assert begin >= end - 1


def test_labels_are_decided_and_saved_by_keyboard(opened: Open) -> None:
    page = opened()
    for row, kept in ((1, True), (4, False)):
        card = page.locator(f"article[data-row='{row}']")
        button = card.locator("button").nth(0 if kept else 1)
        button.focus()
        page.keyboard.press("Enter")
        assert button.get_attribute("aria-pressed") == "true"
    assert page.locator("#count").inner_text() == "5 shown, 2 of 5 decided"
    page.locator("article .text[tabindex]").first.focus()
    page.keyboard.press("End")
    page.locator("#label").select_option("plain")
    assert page.locator("article:visible").count() == 1
    page.locator("#save").focus()
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    assert [(row["row"], row["decided_label"], row["decision"]) for row in rows] == [
        ("1", LABELS[0], "keep"),
        ("4", LABELS[4], "change"),
    ]
