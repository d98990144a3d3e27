"""The page with the tables, and the summary that they are made from."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.gate.summary import Summary
from benchmarks.gate.table import markdown_of
from pytest_servebench.errors import PlanError

DOCS = Path(__file__).parents[2] / "docs"
PAGE, SUMMARY = "gate-proof.md", "gate-proof.json"
BEGIN, END = "<!-- written by benchmarks.gate: begin -->", "<!-- written by benchmarks.gate: end -->"


def stored_summary(docs: Path = DOCS) -> Summary | None:
    """Return the summary beside the page; None when none was written yet."""
    path = docs / SUMMARY
    summary: Summary | None = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return summary


def tables_in(page: str) -> str:
    """Return what stands between the marks of a page; raises `PlanError` without them."""
    return _parts(page)[1].strip()


def write_pages(summary: Summary, docs: Path = DOCS) -> tuple[Path, Path]:
    """Write the summary, and its tables into the page; return both paths."""
    page, kept = docs / PAGE, docs / SUMMARY
    before, _, after = _parts(page.read_text(encoding="utf-8"))
    page.write_text(f"{before}{BEGIN}\n\n{markdown_of(summary)}\n\n{END}{after}", encoding="utf-8")
    kept.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return page, kept


def _parts(page: str) -> tuple[str, str, str]:
    before, begin, rest = page.partition(BEGIN)
    tables, end, after = rest.partition(END)
    if not begin or not end:
        raise PlanError(
            "the page has no place for the tables", seen=page[:80], next_step=f"add {BEGIN}, {END}"
        )
    return before, tables, after
