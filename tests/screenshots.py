"""Pictures of the pages for README and docs: ``python -m screenshots REPORT.html FOLDER``, from ``tests/``.

The report at desktop and phone width, in both themes.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tunebench.report.figures.style import reduce_colours

#: Name, width, height, theme.
SHOTS = (("desktop", 1280, 900, "light"), ("desktop-dark", 1280, 900, "dark"), ("phone", 390, 844, "light"))


def main(report: Path, folder: Path) -> None:
    """Take every picture of :data:`SHOTS`."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for name, width, height, theme in SHOTS:
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme=theme,  # type: ignore[arg-type]
            )
            page.goto(report.resolve().as_uri())
            page.wait_for_load_state("networkidle")
            page.screenshot(path=folder / f"report-{name}.png")
            reduce_colours(folder / f"report-{name}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
