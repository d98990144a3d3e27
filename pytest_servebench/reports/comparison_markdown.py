"""A comparison as markdown, for the summary of a CI job: what counts first, all cases folded below (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from pytest_servebench.comparison.changes import ChangeVerdict
from pytest_servebench.comparison.side_by_side import SHOWN_FIRST, ComparedFigure, SideBySide
from pytest_servebench.reports.comparison_columns import ComparisonColumn, wide_columns
from pytest_servebench.reports.comparison_words import (
    absent_lines,
    change_words,
    compared_rows,
    difference_lines,
    headline,
    interval_words,
    legend,
    one_sided_lines,
    shared_doubts,
    verdict_words,
    why,
)
from pytest_servebench.reports.numbers import numbers

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&])")
_REACTS = re.compile(r"@|#(?=\d)|:(?=[0-9_+-]*[a-z][a-z0-9_+-]*:)")
"""What would call somebody, link an issue, or become a picture."""


def comparison_markdown(side: SideBySide) -> str:
    """Return the whole comparison; GitHub and GitLab show it."""
    parts = [
        f"**{headline(side)}**",
        "\n".join(f"- {letter}: {escaped(words)}" for letter, words in legend(side)),
        "\n".join(f"- {escaped(line)}" for line in (*difference_lines(side), *one_sided_lines(side))),
        "\n".join(notable(side)),
        "\n".join(doubts(side)),
        "\n".join(_all(side)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """Return ``text`` so that markdown shows it as it is, in a table too.

    Nobody is called, no issue is linked, and no sum is set.
    """
    shown = " ".join(_SPECIAL.sub(r"\\\1", text).split())
    return _REACTS.sub(lambda match: f"{match[0]}&#8203;", shown).replace("$", "&#36;")


def code(text: str, *, in_table: bool = False) -> str:
    """Return ``text`` as code; a pipe would end a table's cell even inside of code, and is escaped there."""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    room = " " if "`" in text else ""
    shown = f"{fence}{room}{' '.join(text.split())}{room}{fence}"
    return shown.replace("|", "\\|") if in_table else shown


def notable(side: SideBySide) -> Iterator[str]:
    """Yield the regressions, then the improvements."""
    found = [
        (letter, row, change)
        for verdict in SHOWN_FIRST
        for row in side.rows
        for letter, change in zip(side.letters[1:], row.changes, strict=True)
        if change is not None and change.verdict is verdict is not ChangeVerdict.INCONCLUSIVE
    ]
    if found:
        many = len(side.letters) > len("AB")
        run = ["run"] if many else []
        yield from table_head(
            ["verdict", *run, "case", "figure", "A", "now", "change", "95% interval", "limit"]
        )
    for letter, row, change in found:
        was, now = numbers([change.baseline, change.now])
        cells = [
            f"**{change.verdict}**",
            *([letter] if many else []),
            code(row.case, in_table=True),
            _figure(row),
        ]
        cells += [was, now, change_words(change), interval_words(change), f"{100 * (change.limit or 0):g}%"]
        yield table_line(cells)


def doubts(side: SideBySide) -> Iterator[str]:
    """Yield each reason of a doubt with the number of figures it is of."""
    for letter, changes in shared_doubts(side):
        first = changes[0]
        what = f"{first.figure} of {code(first.case)}, {change_words(first)}"
        what = f"{len(changes)} figures" if changes[1:] else what
        yield f"- {letter}: {escaped(verdict_words(first))}: {what}: {escaped(why(first))}"


def _all(side: SideBySide) -> Iterator[str]:
    """Yield every case, folded."""
    rows = compared_rows(side)
    if not rows:
        return
    cases = list(dict.fromkeys(row.case for row in rows))
    yield (
        f"<details><summary>All {len(cases)} cases</summary>"
        if cases[1:]
        else "<details><summary>The case</summary>"
    )
    columns = wide_columns(side)
    for case in cases:
        yield from ("", code(case), "")
        yield from _table(columns, [row for row in rows if row.case == case])
    yield from ("", *absent_lines(side), "", "</details>")


def _table(columns: Sequence[ComparisonColumn], rows: Iterable[ComparedFigure]) -> Iterator[str]:
    yield from table_head(
        [column.header.replace("\n", " ") for column in columns], [column.numeric for column in columns]
    )
    for row in rows:
        yield table_line([escaped(column.cells(row)[0]) for column in columns])


def table_head(headers: Sequence[str], numeric: Sequence[bool] = ()) -> Iterator[str]:
    """Yield the first two lines of a table; ``numeric`` columns are aligned to the right."""
    right = numeric or [False] * len(headers)
    yield table_line(headers)
    yield table_line(["--:" if one else "---" for one in right])


def table_line(cells: Iterable[str]) -> str:
    """Return a line of a table; its cells are escaped already."""
    return f"| {' | '.join(cells)} |"


def _figure(row: ComparedFigure) -> str:
    return f"{row.figure} ({row.unit})" if row.unit else row.figure
