"""The page at /, in a real browser; skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

import tunebench
from web.serving.conftest import Served


@pytest.fixture(scope="module")
def page(browser: Any) -> Any:
    return browser.new_page()


def test_every_model_answers_side_by_side(page: Any, server: Served, models: dict[str, Path]) -> None:
    asked: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(server.url)
    page.wait_for_selector("article:nth-of-type(5)")
    text = "a lovely film <b>&\"'</b>\nof two men"
    page.fill("#text", text)
    page.press("#text", "Control+Enter")
    expect(page.locator(".row")).to_have_count(11)
    expect(page.locator("#status")).to_have_text("Answered.")
    for path, card in zip(models.values(), page.query_selector_all("article"), strict=True):
        predictor = tunebench.load(path, precision="fp32")
        (shares,) = predictor.predict_proba([text])
        assert card.query_selector("h2").inner_text() == path.name
        shown = [row.query_selector(".share").inner_text() for row in card.query_selector_all(".row")]
        for share, expected in zip(shown, shares, strict=True):
            assert abs(float(share.removesuffix(" %")) - 100 * expected) < 0.11
        assert card.query_selector(".best .label").inner_text() == predictor.label_names[int(shares.argmax())]
    # Labels are text, whatever they hold.
    assert "onerror" in page.inner_text("article:last-of-type .best .label")
    assert page.query_selector("article img") is None and page.title() == "tunebench playground"
    # An answer replaces the one before; a refusal is shown as what it is.
    page.fill("#text", "")
    page.click("button")
    expect(page.locator(".problem")).to_have_count(5)
    assert page.query_selector(".row") is None
    expect(page.locator("#status")).to_have_text("5 of 5 models gave no answer.")
    assert "at least 1 character" in page.query_selector(".problem").inner_text()
    assert all(url.startswith(server.url) for url in asked), asked
    # The browser notes each refusal; nothing else went wrong, nor did the policy stop anything.
    assert len(problems) == 5 and all("status of 422" in problem for problem in problems), problems


def test_of_many_labels_the_likeliest_come_first(page: Any, server: Served) -> None:
    shares = {f"label {number}": (7 * number % 12 + 1) / 78 for number in range(12)}
    prediction = {"label": max(shares, key=shares.__getitem__), "probability": max(shares.values())}
    answer = {"model": "any", "predictions": [prediction | {"probabilities": shares}]}
    page.route("**/v1/predict", lambda route: route.fulfill(json=answer))
    page.goto(server.url)
    page.wait_for_selector("article:nth-of-type(5)")
    page.fill("#text", "a")
    page.click("button")
    expect(page.locator(".row")).to_have_count(5 * 12)
    shown = page.locator("article:first-of-type .row .label").all_inner_texts()
    assert shown == sorted(shares, key=shares.__getitem__, reverse=True)
    page.unroute("**/v1/predict")
