"""``python -m benchmarks.gate``: is the regression gate right? On real servers, slowed by known amounts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from benchmarks.gate.gathering import Pace, Window, gather
from benchmarks.gate.pages import write_pages
from benchmarks.gate.replicates import Replicates
from benchmarks.gate.schedule import BLOCKS, REPEATS, Turn, missing, turns
from benchmarks.gate.simulation import simulation_table
from benchmarks.gate.summary import Summary, goals_of, summary_of
from benchmarks.gate.table import markdown_of
from pytest_servebench.errors import PlanError, ServebenchError

FOLDER = Path(".servebench/gate-proof")


def main(words: Sequence[str] | None = None) -> int:
    """Gather and judge, or only judge; return 0 when every goal is met, 1 when one is missed."""
    asked = _parser().parse_args(words)
    if asked.what == "simulate":
        sys.stdout.write(f"{simulation_table(asked.families, repeats=asked.repeats)}\n")
        return 0
    try:
        store = Replicates(asked.folder)
        if asked.what == "measure":
            _gather(asked, store)
        return _judge(asked, store)
    except ServebenchError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"stopped; what was measured is in {asked.folder}: go on with --resume\n")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gate",
        description=__doc__,
    )
    parser.add_argument(
        "what",
        nargs="?",
        default="measure",
        choices=("measure", "judge", "simulate"),
        help="measure and judge (default); judge what was measured before; or simulate runs instead",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=FOLDER,
        help="where replicates are kept (default: %(default)s)",
    )
    parser.add_argument("--resume", action="store_true", help="go on with what the folder has")
    parser.add_argument(
        "--blocks",
        type=int,
        default=BLOCKS,
        help="each two A/A and one of each slow-down (default: %(default)s)",
    )
    parser.add_argument(
        "--repeats", type=int, default=REPEATS, help="replicates of each side (default: %(default)s)"
    )
    parser.add_argument("--window", type=float, default=1.4, help="seconds measured of each server")
    parser.add_argument("--warmup", type=float, default=0.2, help="seconds of load before them")
    parser.add_argument(
        "--families", type=int, default=2000, help="simulated families a setting (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="file for the summary")
    parser.add_argument(
        "--write-docs", action="store_true", help="put the tables into docs/gate-proof.md, with their summary"
    )
    return parser


def _gather(asked: argparse.Namespace, store: Replicates) -> None:
    known = store.read()
    if known and not asked.resume:
        raise PlanError(
            "this folder already has replicates",
            where=str(store.path),
            next_step="go on with --resume, judge them with 'judge', or name another folder",
        )
    wanted = turns(asked.blocks, asked.repeats)
    todo = missing(wanted, known)
    console = Console(stderr=True, highlight=False)
    console.print(f"{len(todo)} of {len(wanted)} server starts to do, kept in {store.path}")
    with console.status("starting") as status:

        def told(turn: Turn, pace: Pace) -> None:
            line = (
                f"{turn.experiment} {turn.number}, repeat {turn.repeat}, {turn.side}: {pace.done} of"
                f" {pace.of}, {pace.spent_s / pace.done:.1f} s each, {pace.left_s / 60:.0f} min left"
            )
            status.update(line)
            if not console.is_terminal and turn.group != _next(todo, pace):
                console.print(line)

        gather(todo, Window(warmup_s=asked.warmup, duration_s=asked.window), store, told)


def _next(todo: Sequence[Turn], pace: Pace) -> tuple[str, int] | None:
    return todo[pace.done].group if pace.done < len(todo) else None


def _judge(asked: argparse.Namespace, store: Replicates) -> int:
    summary = summary_of(store.read_some())
    text = markdown_of(summary)
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(Markdown(text) if console.is_terminal else text, highlight=False, markup=False)
    for path in _written(asked, summary):
        sys.stderr.write(f"wrote {path}\n")
    return 0 if all(met for _, met in goals_of(summary)) else 1


def _written(asked: argparse.Namespace, summary: Summary) -> list[Path]:
    paths = list(write_pages(summary)) if asked.write_docs else []
    if asked.json:
        asked.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        paths.append(asked.json)
    return paths


if __name__ == "__main__":
    sys.exit(main())
