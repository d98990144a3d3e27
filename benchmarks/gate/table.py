"""The summary as Markdown, which is what the terminal and the documentation show (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.gate.schedule import SAME
from benchmarks.gate.summary import KINDS, SPREAD_FIGURES, Summary, goals_of

NOTHING = "Not measured yet: `make bench-gate ARGS=--write-docs` fills this in."
NONE = "-"


def markdown_of(summary: Summary | None) -> str:
    """Return the tables with what they were measured on; a sentence where nothing was."""
    if summary is None or not summary["measured"]["replicates"]:
        return NOTHING
    parts = (_facts(summary), _gate(summary), _others(summary), _spread(summary), _goals(summary))
    return "\n\n".join(parts)


def _facts(summary: Summary) -> str:
    told = summary["measured"]
    days = " to ".join(dict.fromkeys(when[:16].replace("T", " ") for when in (told["from"], told["to"])))
    return (
        f"Measured {days} UTC on {told['cores']} cores ({told['cpu']}, Linux {told['kernel']},"
        f" {told['python']}, ONNX Runtime {told['onnxruntime']}): {told['replicates']} server starts of"
        f" {told['model']}, {told['not_valid']} of them not valid; {told['repeats']} v {told['repeats']} a"
        f" comparison, each loaded for {told['window_s']:g} s after {told['warmup_s']:g} s of warm-up,"
        f" {told['replies']:g} replies in the median."
    )


def _gate(summary: Summary) -> str:
    rows = []
    for kind in KINDS:
        one = summary["gate"][kind]
        counts = [one[word] for word in ("regression", "improvement", "pass")]
        by = ", ".join(f"{figure} {count}" for figure, count in one["found_by"].items())
        rows.append([kind, _obtained(summary, kind), one["comparisons"], *counts, _inconclusive(one), by])
    limits = ", ".join(f"{figure}:{share:.0%}" for figure, share in summary["limits"].items())
    heads = ("server", "service time obtained", "comparisons", "regression", "improvement", "pass")
    return f"The gate at its defaults (`{limits.replace(' ', '')}`):\n\n" + _table(
        (*heads, "inconclusive", "regressions by"), rows
    )


def _obtained(summary: Summary, kind: str) -> str:
    found = summary["slow_down"][kind]
    if found is None:
        return NONE
    return f"{found['median']:+.1%} ({found['least']:+.1%}..{found['most']:+.1%})"


def _inconclusive(counted: dict[str, Any]) -> str:
    doubts = ", ".join(f"{doubt} {count}" for doubt, count in counted["doubts"].items())
    return f"{counted['inconclusive']} ({doubts})" if doubts else str(counted["inconclusive"])


def _others(summary: Summary) -> str:
    ours = {kind: summary["gate"][kind]["regression"] for kind in KINDS}
    repeats = summary["measured"]["repeats"]
    rows = [
        [name, *(f"{found[kind]} of {summary['gate'][kind]['comparisons']}" for kind in KINDS)]
        for name, found in {f"**this gate, {repeats} v {repeats}**": ours, **summary["others"]}.items()
    ]
    heads = (
        "gate, on the same replicates",
        f"{SAME}: false alarms",
        *(f"{kind}: found" for kind in KINDS[1:]),
    )
    return _table(heads, rows)


def _spread(summary: Summary) -> str:
    rows = [
        [figure, f"{found['within']:.1%}", f"{found['over_all']:.1%}"]
        for figure in SPREAD_FIGURES
        if (found := summary["spread"][figure]) is not None
    ]
    repeats = summary["measured"]["repeats"]
    heads = ("equal servers, run to run", f"sd within {repeats} replicates", "sd over the whole time")
    return _table(heads, rows)


def _goals(summary: Summary) -> str:
    return "\n".join(f"- {words}, {'met' if met else 'MISSED'}" for words, met in goals_of(summary))


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
