"""``summary.md``: a run for the summary of a CI job or a pull request, what counts first (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_servebench.comparison.conditions import conditions
from pytest_servebench.comparison.fingerprint import fingerprint
from pytest_servebench.comparison.saved_runs import SavedRun, described
from pytest_servebench.comparison.side_by_side import side_by_side
from pytest_servebench.reports.backend import backend_of
from pytest_servebench.reports.comparison_markdown import comparison_markdown, escaped, table_head, table_line
from pytest_servebench.reports.comparison_words import nothing_in_common, when
from pytest_servebench.reports.findings import Findings
from pytest_servebench.reports.notes import notes
from pytest_servebench.reports.repeats import repeats_legend
from pytest_servebench.reports.saved_gate import saved_gate
from pytest_servebench.reports.summary.cases import SummaryCase, cases_of, letter
from pytest_servebench.reports.summary.fitting import MOST_BYTES, Part, fitted
from pytest_servebench.reports.summary.gate import gate_part
from pytest_servebench.reports.summary.winner import winner_sentence
from pytest_servebench.reports.table import BEST, cells, split_constants
from pytest_servebench.reports.terminal import in_groups

_MOST_RUNS = 26
"""As many can be compared."""


def summary_markdown(
    runs: Sequence[SavedRun], findings: Sequence[tuple[Findings, str]], most_bytes: int = MOST_BYTES
) -> str:
    """Return the summary of ``runs``, not longer than ``most_bytes``; GitHub and GitLab show it.

    ``findings`` are those of each run, with their markdown. What a user wrote is shown as it is written: it
    calls nobody, links nothing and draws nothing.
    """
    return fitted(list(_parts(runs, findings)), most_bytes)


def _parts(runs: Sequence[SavedRun], findings: Sequence[tuple[Findings, str]]) -> Iterator[Part]:
    cases = cases_of(runs)
    many = len(runs) > 1
    for number, (run, (found, _)) in enumerate(zip(runs, findings, strict=True)):
        own = [case for case in cases if case.run == letter(number)]
        of_run = f"{letter(number)}: " if many else ""
        # Red or green comes first: it is what somebody wants to know of a build.
        if (gate := saved_gate(run)) is not None:
            yield gate_part(gate, of_run)
        yield _title(run, found, own, of_run)
        yield from _tables(own)
    if many:
        yield _comparison(runs)
    for number, (_, text) in enumerate(findings):
        of_run = f" of {letter(number)}" if many else ""
        if text.strip():
            yield Part(name=f"findings{of_run}", lines=tuple(text.rstrip().splitlines()))
    for number, run in enumerate(runs):
        own = [case for case in cases if case.run == letter(number)]
        yield from _folded(run, own, f" of {letter(number)}" if many else "")


def _title(run: SavedRun, found: Findings, cases: Sequence[SummaryCase], run_letter: str) -> Part:
    sentence = winner_sentence(found, [case.row for case in cases])
    facts = f"{run_letter}{escaped(described(run))}" if run.records else run_letter
    return Part(name="the winner", head=(f"## {escaped(sentence)}", "", facts))


def _tables(cases: Sequence[SummaryCase]) -> Iterator[Part]:
    """Yield a table for each benchmark of one run."""
    for benchmark in dict.fromkeys(case.row.benchmark for case in cases):
        rows = in_groups([case.row for case in cases if case.row.benchmark == benchmark])
        reasons = {id(case.row): case.reason for case in cases}
        words, columns = split_constants(rows)
        body = [[_cell(text) for text in cells(column, rows)] for column in columns]
        if columns:
            body[-1] = [_verdict(row.verdict, reasons[id(row)]) for row in rows]
        headers = [column.header.replace("-\n", "").replace("\n", " ") for column in columns]
        title = f"### {escaped(benchmark)}: {escaped(words)}" if benchmark else f"### {escaped(words)}"
        yield Part(
            name=f"table of {benchmark}",
            head=(title, "", *table_head(headers, [column.numeric for column in columns])),
            lines=tuple(table_line(each) for each in zip(*body, strict=True)),
        )


def _cell(text: str) -> str:
    return f"**{escaped(text.removeprefix(BEST))}**" if text.startswith(BEST) else escaped(text)


def _verdict(verdict: str, reason: str) -> str:
    return f"{escaped(verdict)}: {escaped(reason)}" if reason else escaped(verdict)


def _comparison(runs: Sequence[SavedRun]) -> Part:
    head = ("### Side by side", "")
    if len(runs) > _MOST_RUNS:
        return Part(name="side by side", head=(*head, f"More than {_MOST_RUNS} runs are not compared."))
    side = side_by_side(runs)
    if not side.has_something_in_common:
        return Part(name="side by side", head=(*head, f"{nothing_in_common(side)}."))
    text = comparison_markdown(side)
    return Part(name="side by side: see servebench compare", head=(*head, text.rstrip()))


def _folded(run: SavedRun, cases: Sequence[SummaryCase], of_run: str) -> Iterator[Part]:
    """Yield what is one click away: notes and conditions."""
    rows = [case.row for case in cases]
    said = [f"- {escaped(line)}" for line in (*repeats_legend(rows), *notes(rows))]
    if said:
        yield _details(f"Notes{of_run}", said)
    facts = [
        table_line((escaped(name), escaped(values)))
        for name, values in _conditions(run).items()
        if values.strip()
    ]
    if facts:
        yield _details(f"Conditions{of_run}", facts, tuple(table_head(("fact", "value"))))


def _details(title: str, lines: Sequence[str], head: tuple[str, ...] = ()) -> Part:
    return Part(
        name=title.lower(),
        head=(f"<details><summary>{title}</summary>", "", *head),
        lines=tuple(lines),
        tail=("", "</details>"),
    )


def _conditions(run: SavedRun) -> dict[str, str]:
    """Return what a run's cases were measured under, every value of each fact, those of no case left out."""
    facts: dict[str, dict[str, None]] = {}
    for record in run.records:
        asked = {"backend": None, **fingerprint(record), **conditions(record)}
        told: dict[str, Any] = {**asked, "backend": backend_of(record)}
        for name, value in told.items():
            facts.setdefault(name, {})[str(value)] = None
    measured = {"measured": when(run)}
    values = {name: [one for one in found if one != "none"] for name, found in facts.items()}
    return {**measured, **{name: _joined(found) for name, found in values.items()}}


def _joined(values: Sequence[str]) -> str:
    # A backend is several words already.
    return ("; " if any(", " in each for each in values) else ", ").join(values)
