"""The browser that tests of ``report.html`` use: Chromium, as the system has it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

REQUIRED = "SERVEBENCH_REQUIRE_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def the_browser() -> Iterator[Any]:
    """Give one that was started; without one the test is skipped, or fails where one is required."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        why_not = f"none of {', '.join(NAMES)} is in PATH: apt-get install chromium"
        if os.environ.get(REQUIRED):
            pytest.fail(f"{REQUIRED} is set: {why_not}", pytrace=False)
        pytest.skip(why_not)
    from playwright.sync_api import sync_playwright

    # Root may start it without its sandbox only; it shows nothing but what tests made.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()
