"""``report.html`` as a reader has it: in a real browser, by mouse, by keyboard, on a phone, on paper."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.reports.page import page_html
from pytest_servebench.reports.page.assets import hash_of, text_of
from tests.browser import the_browser
from tests.report_pages import a_gpu_run, a_measured_run, a_page, a_run, a_staged_run

pytestmark = pytest.mark.live

PHONE, DESK = (390, 844), (1280, 800)
A4_LANDSCAPE = (1031, 702)
"""Within its margins, in CSS pixels."""
TIMEOUT_MS = 60_000
"""A machine may be busy; nothing here is timed."""
Opened = Callable[..., Any]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Start one browser for all tests."""
    with the_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write each kind of page once, in a folder whose name is hard to quote."""
    folder = tmp_path_factory.mktemp("reports with #1 and a space")
    made = {
        "one": a_page(),
        "staged": a_page(a_staged_run()),
        "two": a_page(a_run("monday"), a_run("tuesday", slower=1.5)),
        "gpu": page_html([a_gpu_run("monday"), a_gpu_run("tuesday", slower=1.5)]),
        "measured": _that_warns(page_html([a_measured_run()])),
    }
    for name, html in made.items():
        (folder / f"{name}.html").write_text(html, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in made}


def _that_warns(html: str) -> str:
    """Return the page with a script that tells what Vega only warns of."""
    script = text_of("page.js")
    warning = script.replace("vega.Error", "vega.Warn")
    assert warning != script
    return html.replace(script, warning).replace(hash_of(script), hash_of(warning))


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Iterator[Opened]:
    """Open a page when called; at the end nothing may have gone wrong in it, nor asked for anything."""
    complaints: list[str] = []
    asked: list[str] = []
    contexts = []

    def open_page(name: str = "one", size: tuple[int, int] = DESK, scheme: str = "light", **more: Any) -> Any:
        width, height = size
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, **more
        )
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        context.route("**/*", _only(pages[name].as_uri(), asked))
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(pages[name].as_uri())
        if more.get("java_script_enabled", True):
            page.wait_for_selector("html[data-drawn]", state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert asked == []


def _only(allowed: str, asked: list[str]) -> Callable[[Any], None]:
    def answer(route: Any) -> None:
        if route.request.url == allowed:
            route.continue_()
        else:
            asked.append(route.request.url)
            route.abort()

    return answer


def _column(page: Any, heading: str) -> list[str]:
    """Return a summary table's column, as it is sorted now."""
    found: list[str] = page.evaluate(
        """heading => {
            const table = document.querySelector("table.sortable");
            const at = [...table.tHead.rows[0].cells].findIndex((cell) => cell.innerText.startsWith(heading));
            return [...table.tBodies[0].rows].map((row) => row.cells[at].lastChild.textContent.trim());
        }""",
        heading,
    )
    return found


def _head(page: Any, heading: str) -> Any:
    return page.locator("table.sortable").first.locator("thead th", has_text=heading)


@pytest.mark.parametrize(
    ("name", "size", "scheme"),
    [
        ("one", PHONE, "light"),
        ("one", PHONE, "dark"),
        ("one", DESK, "light"),
        ("one", DESK, "dark"),
        ("staged", PHONE, "dark"),
        ("two", DESK, "light"),
        ("gpu", PHONE, "dark"),
        ("measured", PHONE, "light"),
    ],
)
def test_it_can_be_read_by_everybody(opened: Opened, name: str, size: tuple[int, int], scheme: str) -> None:
    """No rule of WCAG 2 A and AA that axe-core knows is broken, and the page never scrolls sideways."""
    from axe_playwright_python.sync_playwright import Axe

    page = opened(name, size, scheme)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa"]})
    assert [_told(each) for each in found.response["violations"]] == []
    assert found.response["passes"]
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]


def _told(violation: dict[str, Any]) -> str:
    where = [node["target"] for node in violation["nodes"]][:5]
    return f"{violation['id']}: {violation['help']}: {json.dumps(where)}"


def test_dark_is_dark(opened: Opened) -> None:
    """The page follows what the reader's system prefers."""
    papers = [
        opened(scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    assert papers == ["rgb(255, 255, 255)", "rgb(21, 24, 28)"]


@pytest.mark.parametrize("name", ["one", "two", "staged", "gpu", "measured"])
def test_the_tables_fit_a_window(opened: Opened, name: str) -> None:
    """All columns of the results are seen at once, precisions, runs and repeats among them."""
    page = opened(name)
    tables = page.locator("table.sortable")
    assert tables.count() > 0
    for table in tables.all():
        own, given = table.evaluate("each => [each.scrollWidth, each.parentElement.clientWidth]")
        assert own <= given <= DESK[0]


def test_what_limits_it_is_one_line(opened: Opened) -> None:
    """Short words do not wrap, so a row is as high as its text."""
    page = opened("measured")
    lines = page.locator("table.sortable td.short").evaluate_all(
        "all => all.map((each) => [each.innerText, getComputedStyle(each).whiteSpace])"
    )
    assert "server cpu" in {text for text, _ in lines}
    assert {space for _, space in lines} == {"nowrap"}


def test_a_phone_shows_figures_at_once(opened: Opened) -> None:
    """Before anybody scrolls sideways there are stack, form, verdict and p95."""
    page = opened("gpu", PHONE)
    assert _head(page, "format").is_hidden()
    form = (
        page.locator("table.sortable tbody th")
        .nth(2)
        .evaluate("each => getComputedStyle(each, '::after').content")
    )
    assert form == '"onnx tf32"'
    one = opened("measured", PHONE)
    assert _head(one, "p95 ms").bounding_box()["x"] < PHONE[0]
    right = _head(one, "p95 ms").evaluate("each => each.getBoundingClientRect().right")
    assert right <= PHONE[0]


def test_a_click_sorts(opened: Opened) -> None:
    """Numbers as numbers, up, then down; what is missing is last both times."""
    page = opened()
    button = _head(page, "p95 ms").locator("button")
    button.click()
    assert _column(page, "p95") == ["4.27", "8.55", "8.72", "102.60", "n/a"]
    assert _head(page, "p95 ms").get_attribute("aria-sort") == "ascending"
    button.click()
    assert _column(page, "p95") == ["102.60", "8.72", "8.55", "4.27", "n/a"]
    assert _head(page, "p95 ms").get_attribute("aria-sort") == "descending"


def test_keys_sort(opened: Opened) -> None:
    """Enter and space do what a click does; only one column is the sorted one."""
    page = opened()
    _head(page, "p95 ms").locator("button").click()
    _head(page, "stack").locator("button").focus()
    page.keyboard.press("Enter")
    assert _column(page, "stack") == ["fastapi", "fastapi", "torchserve", "triton", "triton"]
    page.keyboard.press("Space")
    assert _column(page, "stack") == ["triton", "triton", "torchserve", "fastapi", "fastapi"]
    assert page.locator("th[aria-sort]").count() == 1


def test_the_keyboard_reaches_everything_in_order(opened: Opened) -> None:
    """The first key press offers to skip to the results; tables that scroll can be scrolled by keys."""
    page = opened(size=PHONE)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the results"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "scroll"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    before = page.evaluate("document.activeElement.scrollLeft")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("before => document.activeElement.scrollLeft > before", arg=before)


def test_a_row_opens_its_conditions(opened: Opened) -> None:
    """One click on its name, and all that was recorded is on the screen."""
    page = opened()
    page.locator("table.sortable tbody th a").nth(1).click()
    page.wait_for_selector("details.case[open]")
    case = page.locator("details.case[open]")
    assert "triton onnx" in case.locator("summary").inner_text()
    assert case.get_by_text("onnxruntime 1.20, CPU").is_visible()


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_plots_are_drawn(opened: Opened, size: tuple[int, int]) -> None:
    """As SVG, in the page's colours, no wider than the screen, with a name that is text."""
    page = opened(size=size)
    assert page.locator("#undrawn").count() == 0
    svg = page.locator(".plot svg")
    assert svg.count() == 1
    assert "triton </script><b>" in svg.inner_html().replace("&lt;", "<").replace("&gt;", ">")
    assert svg.bounding_box()["width"] <= size[0]
    colours = svg.locator("path[fill*='--series-1']")
    assert colours.count() == 2
    assert colours.first.evaluate("each => getComputedStyle(each).fill") == "rgb(0, 114, 178)"
    assert page.locator("details.vega-actions, .vega-actions").count() == 0


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_measured_figures_are_drawn(opened: Opened, size: tuple[int, int]) -> None:
    """Every plot of measured records has marks within its frame, and Vega warns of nothing."""
    page = opened("measured", size)
    marks = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll(".plot")].map((plot) => [
            plot.dataset.plot,
            [...plot.querySelectorAll(".mark-rect path, .mark-symbol path, .mark-line path, .mark-rule line")]
                .filter((mark) => !mark.closest(".role-axis, .role-legend"))
                .filter((mark) => mark.getBoundingClientRect().width > 1).length,
        ]))"""
    )
    assert len(marks) > 8
    assert {name for name, count in marks.items() if not count} == set()


def test_a_choice_is_drawn_and_fits_a_phone(opened: Opened) -> None:
    """Drop-downs are no wider than the screen, and another case is another drawing."""
    page = opened("measured", PHONE)
    widths = page.locator("select").evaluate_all(
        "all => all.map((each) => each.getBoundingClientRect().right)"
    )
    assert len(widths) > 1
    assert max(widths) <= PHONE[0]
    for plot in page.locator(".plot:has(select)").all():
        before = plot.locator("svg").inner_html()
        plot.locator("select").select_option(index=plot.locator("option").count() - 1)
        name = plot.get_attribute("data-plot")
        page.wait_for_function(
            "([name, before]) => document.querySelector(`[data-plot=${name}] svg`).innerHTML !== before",
            arg=[name, before],
        )


def test_it_reads_without_scripts(opened: Opened) -> None:
    """Tables, winners and conditions are HTML; a sentence stands for the plots."""
    page = opened(java_script_enabled=False)
    assert page.locator("table.sortable tbody tr").count() == 5
    assert page.locator("thead button").count() == 0
    assert page.locator("#undrawn").is_visible()
    page.locator("details.case > summary").first.click()
    assert page.get_by_text("onnxruntime 1.20, CPU").first.is_visible()


def test_it_prints(opened: Opened) -> None:
    """On paper it is light whatever the screen is, shows the conditions, and fits the width."""
    page = opened(scheme="dark")
    assert page.pdf(format="A4").startswith(b"%PDF-")
    page.emulate_media(media="print", color_scheme="dark")
    width, height = A4_LANDSCAPE
    page.set_viewport_size({"width": width, "height": height})
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("details.case dl").first.evaluate("each => each.getBoundingClientRect().height") > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_no_plot_is_cut_on_paper(opened: Opened) -> None:
    """With its title it is no wider than half a page and no higher than one."""
    page = opened("gpu")
    page.emulate_media(media="print")
    width, height = A4_LANDSCAPE
    page.set_viewport_size({"width": width, "height": height})
    figures = page.locator(".plots figure").evaluate_all(
        "all => all.map((each) => each.getBoundingClientRect()).map(({ width, height }) => [width, height])"
    )
    assert len(figures) > 8
    assert max(wide for wide, _ in figures) <= width / 2
    assert max(high for _, high in figures) <= height
