"""``report.html`` as text: what stands in it, and that names which users choose stay text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.resources import files
from itertools import chain

import pytest

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.reports.findings import Answer, Comparison
from pytest_servebench.reports.page import page_html
from pytest_servebench.reports.page.assets import hash_of, json_for_script, vega_scripts
from pytest_servebench.reports.page.meanings import COLUMN_MEANINGS, VALIDITY_MEANINGS
from pytest_servebench.reports.page.summary import heading_text
from pytest_servebench.reports.plots.plot import Plot
from pytest_servebench.reports.table import COLUMNS
from pytest_servebench.results import Validity
from tests.report_pages import FINDINGS, PLOTS, a_gpu_run, a_page, a_run, a_staged_run, cells_of, parsed
from tests.saved_records import saved_record

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
WHOLE = a_page()
PAGE = parsed(WHOLE)


def _policy() -> dict[str, str]:
    (told,) = [each for each in PAGE.all("meta") if "http-equiv" in each.attributes]
    return dict(part.strip().split(" ", 1) for part in told.attributes["content"].split(";"))


def test_it_is_one_file_that_names_no_other() -> None:
    """Nothing in it makes a browser ask for anything: no address, and a policy that forbids it besides."""
    addresses = [
        each.attributes[name]
        for each in PAGE.all()
        for name in ("src", "href", "srcset", "data", "action")
        if name in each.attributes
    ]
    assert addresses
    assert all(address.startswith("#") for address in addresses)
    assert not list(PAGE.all("link"))
    assert not re.search(r"url\(|@import", PAGE.one("style").text)
    assert "sourceMappingURL" not in WHOLE
    assert _policy()["default-src"] == "'none'"


def test_only_its_own_scripts_may_run() -> None:
    """The policy names the hash of every script of the page, and allows no other."""
    scripts = [each for each in PAGE.all("script") if each.attributes.get("type") != "application/json"]
    bodies = ["".join(map(str, each.children)) for each in scripts]
    assert _policy()["script-src"].split() == [f"'{hash_of(body)}'" for body in bodies]


def test_every_link_leads_somewhere() -> None:
    """An anchor that the page names is in it, once."""
    anchors = [each.attributes["id"] for each in PAGE.all() if "id" in each.attributes]
    assert len(anchors) == len(set(anchors))
    wanted = {each.attributes["href"][1:] for each in PAGE.all("a")}
    wanted |= {name for each in PAGE.all() for name in each.attributes.get("aria-labelledby", "").split()}
    assert wanted <= set(anchors)


def test_names_of_users_are_text() -> None:
    """Markup in a model's name, an error, a version, a run's name or a finding is shown, and never obeyed."""
    record = saved_record(result={"reason": HOSTILE, "validity": Validity.UNSTABLE})
    record["case"] |= {"model": HOSTILE, "stack": HOSTILE}
    record |= {"benchmark": HOSTILE, "first_error": HOSTILE, "weights": HOSTILE, "test": HOSTILE}
    record["telemetry"] |= {"warnings": [HOSTILE], "absent": {HOSTILE: HOSTILE}}
    record["machine"] = {"cpu": HOSTILE, "packages": {HOSTILE: HOSTILE}}
    runs = [SavedRun(name=HOSTILE, records=(record,)), SavedRun(name="b", records=(record,))]
    plot = Plot(
        name="p", title=HOSTILE, reading=HOSTILE, description=HOSTILE, spec={"data": {"values": [HOSTILE]}}
    )
    gone = Plot(name="gone", title=HOSTILE, reading=HOSTILE, absent=HOSTILE)
    page = parsed(a_page(*runs, plots=(plot, gone)))
    assert not list(page.all("img"))
    assert len(list(page.all("script"))) == len(list(PAGE.all("script")))
    assert HOSTILE in page.one("h1").text
    assert page.text.count(HOSTILE) > 10
    assert json.loads("".join(map(str, page.one("script", id="specs").children))) == {"p": plot.spec}


def test_data_for_scripts_can_not_end_them() -> None:
    """The JSON has none of the signs that mean something to HTML, and is the same data all the same."""
    data = {"a": HOSTILE + "<!--\u2028", "b": [1.5, None]}
    text = json_for_script(data)
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == data
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_for_script(float("nan"))


def test_scripts_of_vega_can_stand_in_a_page() -> None:
    """None of them has what ends or comments out a script, and each carries its licence."""
    scripts = vega_scripts()
    assert len(scripts) == 3
    assert not re.search(r"</script|<!--", "".join(scripts), re.IGNORECASE)
    assert all("Redistribution and use in source and binary forms" in script for script in scripts)


def test_a_page_without_drawn_plots_is_small() -> None:
    """Vega is put into the file only where something is drawn."""
    assert len(a_page(plots=PLOTS[1:])) < 150_000 < len(WHOLE)


def test_what_the_page_needs_is_in_the_package() -> None:
    """Style, script, templates, Vega and its licences lie beside the code, where a wheel takes them from."""
    folder = files("pytest_servebench.reports.page")
    for name in ("page.css", "page.js", "templates/report.html.j2", "vega/vega.min.js", "vega/LICENSE.vega"):
        assert folder.joinpath(name).is_file(), name


def test_the_table_has_every_figure() -> None:
    """What the terminal shows in its columns stands in the page as plain HTML, the best with a word."""
    table = PAGE.one("table", class_="sortable")
    p95 = cells_of(table, "p95 ms")
    assert [cell.text for cell in p95] == ["8.55", "best 4.27", "102.60", "n/a", "8.72"]
    assert [cell.attributes.get("data-sort") for cell in p95][3] is None
    assert float(p95[1].attributes["data-sort"]) == pytest.approx(4.275)
    assert [cell.text for cell in cells_of(table, "stack")][:3] == ["fastapi", "triton", "torchserve"]


def test_a_verdict_stands_with_its_reason() -> None:
    """In short in the row, in full one click away."""
    verdicts = cells_of(PAGE.one("table", class_="sortable"), "verdict")
    assert [cell.text for cell in verdicts][:2] == ["valid", "valid"]
    assert verdicts[4].text == "valid 3/3"
    assert verdicts[3].one("summary").text == "wrong_output 7 of 8 answers differ"
    assert verdicts[3].one("p").text == "7 of 8 answers differ: from the reference"


def test_the_conditions_of_a_row_are_one_click_away() -> None:
    """A row's name leads to all that its records tell."""
    table = PAGE.one("table", class_="sortable")
    anchor = cells_of(table, "stack")[0].one("a").attributes["href"][1:]
    case = PAGE.one("details", id=anchor)
    told = {pair.one("dt").text: pair.one("dd").text for group in case.all("dl") for pair in group.all("div")}
    assert told["concurrency"] == "16"
    assert told["duration, s"] == "2.00"
    assert told["artifact sha256"] == "a" * 64
    assert told["backend"] == "onnxruntime 1.20, CPUExecutionProvider, cpu, fp32"
    assert told["server memory"] == "1.2 GB"
    assert told["no NVIDIA driver"] == "gpu utilization, %"
    assert "numpy 2.0" in told["packages"]
    assert told["before"].startswith("compared 8; ")
    assert told["over repeats"].startswith("none: it was measured once")


def test_repeats_are_told_one_by_one() -> None:
    """A repeated case has a table of its replicates and the interval over them."""
    (repeated,) = [each for each in PAGE.all("details", class_="case") if "valid 3/3" in each.text]
    assert [cell.text for cell in cells_of(repeated.one("table"), "p95 ms")] == ["8.64", "8.72", "8.81"]
    assert "of 3 server starts" in repeated.text


def test_plots_are_embedded_or_say_why_not() -> None:
    """Each has its title and how to read it; a drawn one words for who does not see it, a missing one why."""
    times, gpu = PAGE.all("figure")
    assert times.one("h3").text == "Response time, ms"
    assert "Shorter is better." in times.text
    assert times.one("div", class_="plot").attributes["aria-label"].endswith("triton onnx is fastest")
    assert gpu.one("p", class_="absent").text == "Not drawn: no case ran on a GPU"
    assert "every figure in them is in the tables" in PAGE.one("p", id="undrawn").text


def test_findings_are_told() -> None:
    """Winners, trade-offs, claims with their answers, and what limits each case."""
    text = PAGE.text
    for words in (
        *FINDINGS.trade_offs,
        "not measurable here dynamic batching gives 2 to 3 times the throughput there is one batch size only",
        "confirmed ONNX is 15 to 20% faster 1.17 times, 95% interval 1.15 to 1.19. as measured",
        *chain(*FINDINGS.bottlenecks),
    ):
        assert words in text


def test_a_claim_is_told_by_its_comparisons() -> None:
    """Each pair with its figures, its answer, and what would tell; the reason does not say them again."""
    pair = Comparison(
        cases="triton, max batch 8 against 1",
        answer=Answer.NOT_MEASURABLE,
        told="1.5 times",
        why="repeat them",
    )
    (claim, *_) = FINDINGS.claims
    found = replace(FINDINGS, claims=(replace(claim, reason="all in one", comparisons=(pair,)),))
    text = parsed(a_page(found=found)).text
    assert "triton, max batch 8 against 1: 1.5 times: not measurable here (repeat them)" in text
    assert "all in one" not in text


def test_the_reference_stands_beside_the_run() -> None:
    """Both figures of each stack, with the words that keep them apart; of another model there is none."""
    (table,) = (each for each in PAGE.all("table") if "reference's figures" in each.one("caption").text)
    assert [cell.text for cell in cells_of(table, "stack")] == [
        stack for stack in ("fastapi", "triton", "torchserve") for _ in range(2)
    ]
    assert [cell.text for cell in cells_of(table, "p95 ms")][0::2] == ["15", "8", "12"]
    assert "n/a" not in [cell.text for cell in cells_of(table, "p95 ms")]
    assert "Neither is a measure for the other." in PAGE.text
    run = a_run()
    others = [{**each, "case": {**each["case"], "model": "mine"}} for each in run.records]
    assert "Beside the reference" not in a_page(replace(run, records=tuple(others)))


def test_a_staged_load_has_its_stages() -> None:
    """A table with a row for each stage, as in the terminal."""
    page = parsed(a_page(a_staged_run()))
    (table,) = [each for each in page.all("table") if "by stage" in each.one("caption").text]
    assert [cell.text for cell in cells_of(table, "stage")][:2] == ["1 ramp", "2 hold"]
    assert cells_of(table, "verdict")[1].text == "pass"


def test_runs_stand_side_by_side() -> None:
    """Every row says its run, a case's runs follow each other, and what has changed is told."""
    page = parsed(a_page(a_run("monday"), a_run("tuesday", slower=1.5)))
    table = page.one("table", class_="sortable")
    assert [cell.text for cell in cells_of(table, "run")] == ["A", "B"] * 5
    assert [cell.text for cell in cells_of(table, "p95 ms")][:4] == [
        "8.55",
        "12.82",
        "best 4.27",
        "best 6.41",
    ]
    assert "monday" in page.one("dl", class_="facts").text
    changes = next(
        each for each in page.all("section") if each.attributes.get("aria-labelledby") == "changes"
    )
    assert "+50%" in changes.text
    assert "B: tuesday" in changes.text


def test_what_all_rows_share_is_said_once() -> None:
    """A batch of which there is one is no column; where there are several it is one."""
    table = parsed(a_page(a_gpu_run())).one("table", class_="sortable")
    assert "tensor over http, max batch 8, 1 per request" in table.one("caption").text
    assert "max batch" not in {head.text for head in table.all("th", scope="col")}
    assert {cell.text for cell in cells_of(PAGE.one("table", class_="sortable"), "max batch")} == {"8", "16"}


def test_a_small_screen_has_the_form_below_the_stack() -> None:
    """What its own columns would say: format, and precision where it is not the usual one."""
    table = parsed(a_page(a_gpu_run())).one("table", class_="sortable")
    forms = [head.attributes["data-form"] for head in table.all("th", scope="row")]
    assert forms[:4] == ["onnx", "onnx tf32", "onnx fp16", "onnx int8"]
    assert [head.text for head in table.all("th", class_="form")] == ["format", "precision"]
    assert all("form" in cell.classes for cell in cells_of(table, "precision"))


def test_a_regression_is_marked() -> None:
    """The row of the figure that became worse, and no other."""
    runs = [
        SavedRun(
            name=name,
            records=tuple(saved_record(repeat=n, slower=slower * (1 + n / 200)) for n in range(1, 7)),
        )
        for name, slower in (("monday", 1.0), ("tuesday", 1.5))
    ]
    page = parsed(a_page(*runs))
    changes = next(
        each for each in page.all("section") if each.attributes.get("aria-labelledby") == "changes"
    )
    assert [row.one("th").text for row in changes.all("tr", class_="bad")] == ["p95 ms"]
    first = next(iter(page.one("header").all("p", class_="answer")))
    assert "1 regression" in first.text
    assert first.one("a").attributes["href"] == "#changes"
    assert "p95 8.7 \N{RIGHTWARDS ARROW} 13" in changes.text


def test_runs_without_a_common_case_are_one_sentence() -> None:
    """What each of them alone has is in the table, and is no change."""
    page = parsed(a_page(a_run("monday"), a_staged_run()))
    changes = next(
        each for each in page.all("section") if each.attributes.get("aria-labelledby") == "changes"
    )
    assert "No case of A is in another of these runs" in changes.text
    assert "only in" not in changes.text


def test_more_runs_than_letters_have_a_table() -> None:
    """They are not compared, which takes 26 at most, and shown all the same."""
    page = parsed(a_page(*[a_run(str(number)) for number in range(27)]))
    assert not [each for each in page.all("section") if each.attributes.get("aria-labelledby") == "changes"]
    assert cells_of(page.one("table", class_="sortable"), "run")[26].text == "27"


def test_every_column_and_validity_is_explained() -> None:
    """A new column or word of a verdict has a meaning on the page."""
    assert [heading_text(column) for column in COLUMNS] == list(COLUMN_MEANINGS)
    assert set(VALIDITY_MEANINGS) == set(Validity)


def test_the_whole_way() -> None:
    """Runs become a page with nothing more than the runs, the same each time."""
    runs = [a_run()]
    assert page_html(runs) == page_html(runs)
    assert "fastapi" in parsed(page_html(runs)).one("h1").text
