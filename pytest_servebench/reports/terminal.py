"""What a person reads in the terminal: values in, text out; writing it is the plugin's business."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from pytest_servebench.arrivals import Staged
from pytest_servebench.containers import ContainerSettings
from pytest_servebench.plan import LauncherKind, Plan
from pytest_servebench.reports.notes import faults, notes
from pytest_servebench.reports.rendering import NOT_AVAILABLE, natural_width, rendered
from pytest_servebench.reports.repeats import joined_rows, repeats_legend, repeats_text
from pytest_servebench.reports.row import Row
from pytest_servebench.reports.stages import COLUMNS as STAGE_COLUMNS
from pytest_servebench.reports.stages import DOUBTFUL, narrower, stage_table, stage_title
from pytest_servebench.reports.table import BEST, Column, cells, split_constants

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
"""Of colours."""
DASHBOARD_PATH = "/d/servebench"
"""Of the dashboard in ``deploy/grafana/dashboards``, by its uid."""
LEGEND = {
    f" {BEST}": f"{BEST} best of the valid cases that were asked alike",
    NOT_AVAILABLE: f"{NOT_AVAILABLE}: not reported",
}
"""What signs in a table mean."""
NOT_SHOWN = "not shown at"
OF_MEMORY = "memory: of the GPU where the server computes on one, else of its process tree"


def header_lines(plan: Plan, machine: Mapping[str, Any], model: str, weights: str) -> list[str]:
    """Return the header: model, weights, device, launcher, stacks, what was left out, and why."""
    attached = [f"{stack} at {url}" for stack, url in plan.attached.items()]
    lines = {
        "model": f"{model}, weights {weights}",
        "device": _because(str(plan.device), plan.device_reason),
        "lanes": _lanes(plan),
        "launcher": _because(str(plan.launcher), plan.launcher_reason),
        "containers": _containers(plan),
        "engine": _because(str(plan.engine), plan.engine_reason) if plan.engine_reason else "",
        "stacks": ", ".join(plan.stacks),
        "precisions": _precisions(plan),
        "attached": ", ".join(attached),
        "left out": ", ".join(_left_out(plan)),
        "repeats": repeats_text(plan),
        "window": _window(plan),
        "load workers": _workers(plan),
        "warning": _exposed(plan),
        "abort on fail": _ends_nothing(plan),
        "machine": _machine(machine),
    }
    return [f"servebench {name}: {text}" for name, text in lines.items() if text]


def _precisions(plan: Plan) -> str:
    """Return them where somebody asked for any."""
    return ", ".join(plan.precisions) if "dtype" in plan.settings else ""


def _left_out(plan: Plan) -> Iterator[str]:
    """Yield what is left out, what has one reason together."""
    for why in dict.fromkeys(plan.left_out.values()):
        yield f"{', '.join(each for each, its in plan.left_out.items() if its == why)} ({why})"


def _containers(plan: Plan) -> str:
    """Return what is not as it would be by itself: images that were named, and settings."""
    if plan.launcher is not LauncherKind.DOCKER:
        return ""
    named = [f"{stack} from {choice.reference}" for stack, choice in plan.images.items() if choice.reference]
    return ", ".join([*named, *_settings(plan.container)])


def _settings(container: ContainerSettings) -> Iterator[str]:
    """Yield the settings that somebody changed."""
    default = ContainerSettings()
    for each in fields(container):
        value = getattr(container, each.name)
        if value != getattr(default, each.name):
            name, is_bytes, _ = each.name.partition("_bytes")
            yield f"{name} {value / 2**30:.3g} GiB" if is_bytes else f"{name} {value}"


def _lanes(plan: Plan) -> str:
    """Return what workers take in turn, where they do not all use the whole machine."""
    names = ", ".join(lane.name for lane in plan.lanes)
    return "" if plan.lane.is_whole else names + " (workers take them in turn)" * (len(plan.lanes) > 1)


def _window(plan: Plan) -> str:
    """Return how long is measured, where that is not fixed."""
    warm_up = f"warm-up until it has settled, {plan.warmup_s:g} s at most" if plan.steady else ""
    precise = (
        f"measured until throughput and p95 are known to {100 * plan.precision:g}%, "
        f"{plan.duration_s:g} s at most"
        if plan.precision is not None
        else ""
    )
    return "; ".join(filter(None, (warm_up, precise)))


def _workers(plan: Plan) -> str:
    counts = Counter(plan.load_workers)
    specs = ", ".join(f"{count}*{spec}" if count > 1 else spec for spec, count in counts.items())
    many = len(plan.load_workers) > 1
    return specs + "; a case with fewer requests in flight uses as many as it has in flight" * many


def _ends_nothing(plan: Plan) -> str:
    """Return that an early end was asked for, and no load that could have one.

    No error: it may stand in a file of settings, for the days on which the staged load test is run.
    """
    staged = isinstance(plan.arrivals, Staged) or plan.load_scale is not None
    if plan.abort_after_s is None or staged:
        return ""
    return (
        "without effect, as it ends the staged load test only: that takes --serve-arrivals=stages:... "
        "or --serve-load-scale"
    )


def _exposed(plan: Plan) -> str:
    """Return what somebody should know whose servers others can reach."""
    launched = set(plan.stacks) - set(plan.attached)
    if plan.host.startswith("127.") or not launched:
        return ""
    return f"the servers listen on {plan.host}, and whoever reaches it can use them, without a password"


def report_lines(
    records: Sequence[Mapping[str, Any]], *, width: int, colour: bool, encoding: str = "utf-8"
) -> list[str]:
    """Return the whole report of a session, a table per benchmark and the notes below.

    ``width`` in columns; ``colour`` False gives plain text (NO_COLOR, no terminal);
    an ``encoding`` without line-drawing characters gets ASCII lines.
    """
    rows = joined_rows(records)
    lines = table_lines(records, width=width, colour=colour, encoding=encoding)
    return [*lines, *_legend(lines), *repeats_legend(rows), *notes(rows)] if rows else []


def brief_lines(
    records: Sequence[Mapping[str, Any]], *, width: int, colour: bool, encoding: str = "utf-8"
) -> list[str]:
    """Return the tables, and below them only what is wrong: for ``-q``."""
    lines = table_lines(records, width=width, colour=colour, encoding=encoding)
    return [*(line for line in lines if not line.startswith(NOT_SHOWN)), *faults(joined_rows(records))]


def verdict_lines(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what is wrong, a line each, and how many cases have which verdict: for ``-qq``."""
    rows = joined_rows(records)
    counts = Counter(row.verdict for row in rows)
    told = "; ".join(f"{count} {verdict}" for verdict, count in counts.items())
    cases = f"{len(rows)} case{'s' * (len(rows) != 1)}"
    return [*faults(rows), f"servebench: {cases}: {told}"] if rows else []


def table_lines(
    records: Sequence[Mapping[str, Any]], *, width: int, colour: bool, encoding: str = "utf-8"
) -> list[str]:
    """Return a table per benchmark under its title, and the stages of a load that had some."""
    rows = joined_rows(records)
    lines: list[str] = []
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        chosen = in_groups([row for row in rows if row.benchmark == benchmark])
        title, columns = split_constants(chosen)
        kept = fit(chosen, columns, width)
        table = result_table(chosen, kept)
        lines += ["", f"{benchmark}: {title}" if benchmark else title]
        lines += rendered(table, width=max(width, natural_width(table)), colour=colour, encoding=encoding)
        left_out = [
            column.header.replace("-\n", "").replace("\n", " ") for column in columns if column not in kept
        ]
        lines += [f"{NOT_SHOWN} {width} columns: {', '.join(left_out)}"] if left_out else []
        for record in records:
            if record.get("stages") and record.get("benchmark", "") == benchmark:
                lines += _stage_lines(record, width=width, colour=colour, encoding=encoding)
    return lines


def _legend(lines: Sequence[str]) -> list[str]:
    """Return what signs and figures mean, of those that ``lines`` have."""
    text = "\n".join(line for line in lines if not line.startswith(NOT_SHOWN))
    plain = _ESCAPE.sub(" ", text)
    signs = "; ".join(meaning for sign, meaning in LEGEND.items() if sign in plain)
    return [line for line in (signs, OF_MEMORY * ("memory" in plain)) if line]


def monitoring_lines(records: Sequence[Mapping[str, Any]], begin_ms: int, end_ms: int) -> list[str]:
    """Return where the measured servers were watched, a line each; the dashboard opens on this session."""
    watched = {
        json.dumps(each["monitoring"]): each["monitoring"] for each in records if each.get("monitoring")
    }
    return [
        f"dashboard: {one['grafana']}{DASHBOARD_PATH}?from={begin_ms}&to={end_ms}"
        if one.get("grafana")
        else f"Prometheus: {one['prometheus']}"
        for one in watched.values()
    ]


def in_groups(rows: Sequence[Row]) -> list[Row]:
    """Return ``rows`` with comparable ones side by side, groups in order of first appearance."""
    order = list(dict.fromkeys(row.group for row in rows))
    return sorted(rows, key=lambda row: order.index(row.group))


def fit(rows: Sequence[Row], columns: Sequence[Column], width: int) -> list[Column]:
    """Return as many columns as fit into ``width``, the least important left out first."""
    kept = list(columns)
    while natural_width(result_table(rows, kept)) > width:
        expendable = max(kept, key=lambda column: column.sacrifice)
        if not expendable.sacrifice:
            break
        kept.remove(expendable)
    return kept


def result_table(rows: Sequence[Row], columns: Sequence[Column] | None = None) -> Table:
    """Return the table of one benchmark, a section for each group of comparable cases."""
    shown = split_constants(rows)[1] if columns is None else columns
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", collapse_padding=True
    )
    for column in shown:
        justify: JustifyMethod = "right" if column.numeric else "left"
        table.add_column(column.header, justify=justify, no_wrap=True, vertical="bottom")
    body = [cells(column, rows) for column in shown]
    for at, row in enumerate(rows):
        if at and row.group != rows[at - 1].group:
            table.add_section()
        table.add_row(*(_styled(row, column[at]) for column in body))
    return table


def _stage_lines(record: Mapping[str, Any], *, width: int, colour: bool, encoding: str) -> list[str]:
    """Return the table of a load's stages, in as many columns as fit, under its title."""
    stages, kept = record["stages"], list(STAGE_COLUMNS)
    while natural_width(stage_table(stages, kept)) > width and len(narrower(kept)) < len(kept):
        kept = narrower(kept)
    table = stage_table(stages, kept)
    shown = rendered(table, width=max(width, natural_width(table)), colour=colour, encoding=encoding)
    left_out = [
        column.header.replace("-\n", "").replace("\n", " ") for column in STAGE_COLUMNS if column not in kept
    ]
    missing = [f"{NOT_SHOWN} {width} columns: {', '.join(left_out)}"] if left_out else []
    doubts = [stage["reason"] for stage in stages if stage["verdict"] in DOUBTFUL and stage["reason"]]
    return ["", stage_title(Row.from_record(record).label, record), *shown, *missing, *doubts]


def _machine(facts: Mapping[str, Any]) -> str:
    """Return what a reader needs to know of the machine; the rest is in the record."""
    memory_bytes = facts.get("memory_bytes")
    words = (
        facts.get("cpu"),
        f"{facts['cores_usable']} cores" if facts.get("cores_usable") else None,
        f"{memory_bytes / 2**30:.0f} GiB" if memory_bytes else None,
        *facts.get("gpus", ()),
        f"{facts.get('system', '')} {facts.get('kernel', '')}".strip(),
        facts.get("python"),
    )
    return ", ".join(str(word) for word in words if word)


def _because(what: str, why: str) -> str:
    return f"{what} ({why})" if why else what


def _styled(row: Row, cell: str) -> Text:
    if cell == row.verdict:
        good = row.is_believed and row.judgement != "fail"
        return Text(cell, style="" if good else "bold red")
    return Text(cell, style="bold green" if cell.startswith(BEST) else "")
