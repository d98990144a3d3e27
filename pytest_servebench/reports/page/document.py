"""Puts ``report.html`` together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.reports.findings import Findings, findings_of
from pytest_servebench.reports.notes import notes
from pytest_servebench.reports.page.assets import hash_of, json_for_script, text_of, vega_scripts
from pytest_servebench.reports.page.cases import PageCase, cases_of
from pytest_servebench.reports.page.changes import changes_between, gates_of
from pytest_servebench.reports.page.conditions import conditions_of
from pytest_servebench.reports.page.findings_told import told_findings
from pytest_servebench.reports.page.meanings import JUDGEMENT_MEANINGS, VALIDITY_MEANINGS, WHY_TRUST
from pytest_servebench.reports.page.opening import opening_of
from pytest_servebench.reports.page.stage_tables import stage_tables
from pytest_servebench.reports.page.summary import SummaryTable, summary_tables
from pytest_servebench.reports.plots import plots_of
from pytest_servebench.reports.plots.plot import Plot
from pytest_servebench.reports.reference import HEADER, WORDS
from pytest_servebench.reports.repeats import repeats_legend
from pytest_servebench.reports.table import BEST
from pytest_servebench.reports.terminal import LEGEND, OF_MEMORY

if TYPE_CHECKING:
    from jinja2 import Template


def page_html(runs: Sequence[SavedRun]) -> str:
    """Return the report of runs, side by side, as one HTML file that asks for nothing from anywhere."""
    return page_of(runs, found=[findings_of(run.records) for run in runs], plots=plots_of(runs))


def page_of(runs: Sequence[SavedRun], *, found: Sequence[Findings], plots: Sequence[Plot]) -> str:
    """Return the page with these findings of each run, and these plots."""
    cases = cases_of(runs)
    tables = summary_tables(cases)
    drawn = [plot for plot in plots if plot.spec]
    scripts = [*(vega_scripts() if drawn else ()), text_of("page.js")]
    return _template().render(
        opening=opening_of(runs, cases, found),
        tables=tables,
        legend=(*LEGEND_LINES, *_notes(cases)),
        column_meanings=_meanings(tables),
        conditions=[conditions_of(case) for case in cases],
        stages=stage_tables(cases),
        changes=changes_between(runs),
        gates=gates_of(runs),
        plots=plots,
        specs=json_for_script({plot.name: plot.spec for plot in drawn}),
        findings=told_findings(runs, found),
        reference_heads=[(name, at >= WORDS) for at, name in enumerate(HEADER)],
        validity=VALIDITY_MEANINGS,
        judgements=JUDGEMENT_MEANINGS,
        why_trust=WHY_TRUST,
        style=text_of("page.css"),
        scripts=scripts,
        script_hashes=" ".join(f"'{hash_of(script)}'" for script in scripts),
    )


LEGEND_LINES = (*(line.replace(BEST, "\N{BLACK STAR}") for line in LEGEND.values()), OF_MEMORY)
"""What signs in the table mean."""


def _meanings(tables: Sequence[SummaryTable]) -> dict[str, str]:
    """Return what the columns mean that any table has."""
    return {head.text: head.meaning for table in tables for head in table.headings}


def _notes(cases: Sequence[PageCase]) -> Iterator[str]:
    """Yield what the rows of each run do not say, with the run's letter where there are several."""
    for letter in dict.fromkeys(case.letter for case in cases):
        rows = [case.row for case in cases if case.letter == letter]
        for line in (*repeats_legend(rows), *notes(rows)):
            yield f"{letter}: {line}" if letter else line


def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pytest_servebench.reports.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")
