"""Draws what the terminal shows of a saved run as docs/pictures/terminal.svg, which README shows.

Usage: python docs/pictures/capture.py RUN.json [BENCHMARK] > docs/pictures/terminal.svg
`make pictures RUN=...` makes both pictures of one saved run.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pytest_servebench.comparison.saved_runs import SavedRun, read_run
from pytest_servebench.reports.terminal import report_lines

WIDTH = 104
WEB_FONT = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
"""Rich's picture asks another machine for its font; this one takes the reader's."""


def picture(run: SavedRun, benchmark: str = "") -> str:
    """Return ``run``, or one benchmark of it, as a terminal shows it: an SVG that asks for nothing."""
    chosen = [each for each in run.records if benchmark in ("", each.get("benchmark"))]
    lines = ["$ make bench", "...", *report_lines(chosen, width=WIDTH, colour=True)]
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    for line in lines:
        console.print(Text.from_ansi(line))
    svg = console.export_svg(title="pytest-servebench", unique_id="terminal")
    return WEB_FONT.sub("", svg).replace("Fira Code", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono")


if __name__ == "__main__":
    sys.stdout.write(picture(read_run(Path(sys.argv[1])), *sys.argv[2:3]))
