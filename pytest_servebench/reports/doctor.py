"""What the doctor found, for a terminal and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pytest_servebench.checkup import Check, CheckState, Checkup, Serving
from pytest_servebench.reports.rendering import UNBOUNDED, rendered

SCHEMA = 1
_STYLES = {
    CheckState.OK: "green",
    CheckState.WARNING: "yellow",
    CheckState.MISSING: "bold red",
    CheckState.NOT_AVAILABLE: "dim",
}
_STATE_WIDTH = max(len(state) for state in CheckState)
_MEND = "        mend: "


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """What lines are made for."""

    width: int
    colour: bool
    encoding: str

    def shown(self, renderable: RenderableType) -> list[str]:
        """Return it within the width."""
        return rendered(renderable, width=self.width, colour=self.colour, encoding=self.encoding)

    def typed(self, remedy: str) -> list[str]:
        """Return what mends something, never wrapped: it is copied."""
        texts = (Text(f"{_MEND}{line}", style="cyan", no_wrap=True) for line in remedy.splitlines())
        wide = replace(self, width=UNBOUNDED)
        return [line for text in texts for line in wide.shown(text)]


def doctor_lines(checkup: Checkup, *, width: int, colour: bool, encoding: str) -> list[str]:
    """Return the lines for a person; the last says whether what was asked for can run."""
    page = _Page(width=width, colour=colour, encoding=encoding)
    lines = page.shown(Text("Stacks", style="bold")) + page.shown(_matrix(checkup.servings))
    for reason, remedy in _why_not(checkup.servings):
        lines += page.shown(_hanging(reason)) + page.typed(remedy)
    for section in checkup.sections:
        lines += ["", *page.shown(Text(section, style="bold"))]
        for check in (each for each in checkup.checks if each.section == section):
            lines += page.shown(_row(check)) + page.typed(check.remedy)
    lines.append("")
    for placed in _placed(checkup):
        lines += page.shown(placed)
    if checkup.outcome.why_not:
        for reason in checkup.outcome.why_not.splitlines():
            lines += page.shown(Text(reason))
        lines += page.typed(checkup.outcome.remedy)
    return [*lines, _last(checkup)]


def doctor_json(checkup: Checkup) -> str:
    """Return all of it as JSON, in the shape that docs/doctor.md lists."""
    outcome = checkup.outcome
    content = {
        "schema": SCHEMA,
        "asked": dict(outcome.asked),
        "launcher": outcome.launcher or None,
        "launcher_reason": outcome.launcher_reason or None,
        "device": outcome.device or None,
        "device_reason": outcome.device_reason or None,
        "can_run": outcome.can_run,
        "why_not": outcome.why_not.splitlines(),
        "remedy": outcome.remedy.splitlines(),
        "command": outcome.command,
        "stacks": [
            {
                "stack": one.stack,
                "format": one.format,
                "launcher": one.launcher,
                "runs": one.runs,
                "precisions": list(one.precisions),
                "why_not": one.why_not or None,
                "remedy": one.remedy.splitlines(),
            }
            for one in checkup.servings
        ],
        "checks": [
            {
                "section": one.section,
                "subject": one.subject,
                "state": str(one.state),
                "seen": one.seen,
                "remedy": one.remedy.splitlines(),
                "needed": one.is_needed,
            }
            for one in checkup.checks
        ],
    }
    return json.dumps(content, indent=2) + "\n"


def _matrix(servings: Sequence[Serving]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 1), show_edge=False, pad_edge=True)
    launchers = tuple(dict.fromkeys(one.launcher for one in servings))
    for heading in ("stack", "format", *launchers):
        table.add_column(heading, no_wrap=True)
    found = {(one.stack, one.format, one.launcher): one for one in servings}
    for stack, model_format in dict.fromkeys((one.stack, one.format) for one in servings):
        cells = [_cell(found[stack, model_format, each]) for each in launchers]
        table.add_row(stack, model_format, *cells)
    return table


def _cell(one: Serving) -> Text:
    """Return what it would compute in, or that it would not run."""
    return Text(", ".join(one.precisions) or "runs", style="green") if one.runs else Text("no", style="red")


def _why_not(servings: Sequence[Serving]) -> Iterator[tuple[str, str]]:
    """Yield each reason once, with all that it stops, and what mends it."""
    stopped: dict[tuple[str, str], list[Serving]] = {}
    for one in servings:
        if not one.runs:
            stopped.setdefault((one.why_not, one.remedy), []).append(one)
    for (why, remedy), ones in stopped.items():
        yield f"{_named(ones, servings)}: {why}", remedy


def _named(ones: Sequence[Serving], servings: Sequence[Serving]) -> str:
    """Return what is stopped; all of a launcher by its name alone."""
    launchers = tuple(dict.fromkeys(one.launcher for one in ones))
    stacks = {one.stack for one in servings}
    if len(launchers) == 1 and {one.stack for one in ones} == stacks and len(ones) > len(stacks):
        return launchers[0]
    pairs = dict.fromkeys(f"{one.stack}/{one.format}" for one in ones)
    return f"{', '.join(pairs)} ({', '.join(launchers)})"


def _hanging(text: str) -> Table:
    """Return a text under the table, its further lines below its first."""
    table = Table.grid(padding=(0, 1))
    table.add_column(width=_STATE_WIDTH)
    table.add_column(overflow="fold")
    table.add_row("", Text(text))
    return table


def _row(check: Check) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=_STATE_WIDTH, no_wrap=True)
    table.add_column(overflow="fold")
    state = Text(str(check.state), style=_STYLES[check.state])
    table.add_row(state, Text(f"{check.subject}: {check.seen}"))
    return table


def _placed(checkup: Checkup) -> Iterator[Text]:
    outcome = checkup.outcome
    if outcome.launcher:
        yield Text(f"launcher: {outcome.launcher} ({outcome.launcher_reason})")
        yield Text(f"device: {outcome.device} ({outcome.device_reason})")


def _last(checkup: Checkup) -> str:
    outcome = checkup.outcome
    asked = f"--stack={outcome.asked['stack']}"
    if outcome.can_run:
        return f"{asked} can run here: {outcome.command}"
    instead = f"; what can now: {_available(outcome.command)}" if _something_runs(checkup) else ""
    return f"{asked} cannot run here; once that is mended: {outcome.command}{instead}"


def _something_runs(checkup: Checkup) -> bool:
    """Return whether a stack of the launcher that would be used runs, and nothing stops all of them."""
    stopped = any(one.is_needed and one.state is CheckState.MISSING for one in checkup.checks)
    launcher = checkup.outcome.launcher
    return not stopped and any(one.runs and one.launcher == launcher for one in checkup.servings)


def _available(command: str) -> str:
    """Return the command that leaves out what cannot run."""
    return " ".join("--stack=available" if word.startswith("--stack=") else word for word in command.split())
