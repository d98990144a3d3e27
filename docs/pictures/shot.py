"""Photographs the first screen of a report as docs/pictures/report.png, which README shows.

Usage: python docs/pictures/shot.py REPORT.html [CHROMIUM] > docs/pictures/report.png
`make pictures RUN=...` makes both pictures of one saved run.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

WIDTH, HEIGHT = 1280, 860
COLOURS = 128
DRAWN_MS = 1500
"""Until the plots are there."""


def shot(page: Path, chromium: str = "/usr/bin/chromium") -> bytes:
    """Return what a browser without a window shows of the page at first, as PNG."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        tab.goto(page.absolute().as_uri())
        tab.wait_for_timeout(DRAWN_MS)
        picture: bytes = tab.screenshot()
        browser.close()
    return small(picture)


def small(picture: bytes) -> bytes:
    """Return the picture in as many colours as letters and bars need: a third of its bytes."""
    from PIL import Image

    made = io.BytesIO()
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(made, "PNG", optimize=True)
    return made.getvalue()


if __name__ == "__main__":
    sys.stdout.buffer.write(shot(Path(sys.argv[1]), *sys.argv[2:3]))
