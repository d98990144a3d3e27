"""The report as a folder: everything that a run leaves for people and programs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.errors import MissingPieceError
from pytest_servebench.reports.findings import Findings, findings_markdown, findings_of
from pytest_servebench.reports.page import page_html
from pytest_servebench.reports.pictures import latency_comparison, resource_analysis
from pytest_servebench.reports.summary.csv_table import summary_csv
from pytest_servebench.reports.summary.document import summary_json
from pytest_servebench.reports.summary.markdown import summary_markdown
from pytest_servebench.reports.whole_records import whole

PAGE = "report.html"
PARTS = (
    PAGE,
    "summary.md",
    "summary.csv",
    "summary.json",
    "latency_comparison.png",
    "resource_analysis.png",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a report is made of, and what it lacks."""

    paths: tuple[Path, ...]
    """The page first, where there is one."""
    left_out: tuple[str, ...] = ()
    """A line for each reason, with what to install."""


def write_report(runs: Sequence[SavedRun], folder: Path) -> Written:
    """Write every part of the report of ``runs``, side by side, into ``folder``; raises `OSError`.

    The folder is made where it is not there. Each part is there whole or as it was before, whoever reads it
    meanwhile; nothing is written before all of it is made. What else lies in the folder stays.
    """
    contents, left_out = _contents([whole(run) for run in runs])
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(_put(folder / name, content) for name, content in contents.items())
    return Written(paths=paths, left_out=tuple(dict.fromkeys(left_out)))


def _contents(runs: Sequence[SavedRun]) -> tuple[dict[str, bytes], list[str]]:
    """Return what each part holds, and why others cannot be had."""
    contents, left_out = {}, []
    for name, make in _makers(runs):
        content, why_not = _content(make)
        if content is None:
            left_out.append(why_not)
        else:
            contents[name] = content
    return contents, left_out


def _content(make: Callable[[], bytes]) -> tuple[bytes | None, str]:
    """Return what a part holds; or None, and what has to be installed for it."""
    try:
        return make(), ""
    except MissingPieceError as error:
        return None, f"{error.what}: {error.next_step}" if error.next_step else error.what


def _makers(runs: Sequence[SavedRun]) -> Iterator[tuple[str, Callable[[], bytes]]]:
    findings = [_findings(run) for run in runs]
    yield PAGE, lambda: _encoded(page_html(runs))
    yield "summary.md", lambda: _encoded(summary_markdown(runs, findings))
    yield "summary.csv", lambda: _encoded(summary_csv(runs))
    yield "summary.json", lambda: _encoded(summary_json(runs, [found for found, _ in findings]))
    yield "latency_comparison.png", lambda: latency_comparison(runs)
    yield "resource_analysis.png", lambda: resource_analysis(runs)


def _findings(run: SavedRun) -> tuple[Findings, str]:
    """Return what was found in a run, and its markdown; in a run without records, nothing."""
    if not run.records:
        return Findings(), ""
    found = findings_of(run.records)
    return found, findings_markdown(found)


def _encoded(text: str) -> bytes:
    """Return UTF-8; half a character, which no file can hold, is ``?``."""
    return text.encode("utf-8", "replace")


def _put(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all, readable as any file that its user makes."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    return path
