"""``python -m benchmarks.telemetry``: what reading the machine beside a load costs, with a real server."""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.telemetry.measuring import prepare_stand_in, ratios_of, served, shares_of, total_of, turns
from pytest_servebench.errors import ServebenchError
from pytest_servebench.plan import Load
from pytest_servebench.telemetry.gpu_devices import gpu_names

AIM_SHARE = 0.01
"""Of one core: what all samplers together are to stay below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one stack's turns came to."""

    stack: str
    gpu: str
    """``none``, ``stand-in`` or the name of the real one."""
    processes: int
    memory_gb: float | None
    shares: Mapping[str, float]
    """Of one core, by sampling thread."""
    total_share: float
    throughput_ratios: Sequence[float]
    """With sampling by without, pair by pair."""

    @property
    def holds(self) -> bool:
        """Whether all samplers together stay below the aim."""
        return self.total_share < AIM_SHARE


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write ``--json``; return 1 where the samplers cost more than they may."""
    asked = _parser().parse_args(words)
    console = Console(width=None if sys.stdout.isatty() else 130)
    try:
        with tempfile.TemporaryDirectory(prefix="servebench-stand-in-") as name:
            found = _measured(asked, Path(name), console)
    except ServebenchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    console.print(_table(found))
    for one in found:
        console.print(_line(one), highlight=False)
    if asked.json:
        Path(asked.json).write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", "utf-8")
    return 0 if all(one.holds for one in found) else 1


def _measured(asked: argparse.Namespace, folder: Path, console: Console) -> list[Found]:
    real = gpu_names()
    load = Load(concurrency=asked.in_flight, warmup_s=asked.settle, duration_s=asked.window)
    found = []
    for stack in asked.stack or ["fastapi"]:
        with served(stack, asked.model, Path(asked.cache), load) as bench:
            for gpu in ("none", real.names[0] if real.names else "stand-in"):
                missing = _missing(gpu, folder)
                if missing:
                    console.print(f"not measured with a GPU: {missing}", highlight=False)
                    continue
                pairs = list(turns(bench, asked.rounds, gpu=gpu != "none"))
                seen = [turn.telemetry.server_memory_bytes for turn, _ in pairs if turn.telemetry]
                found.append(
                    Found(
                        stack=stack,
                        gpu=gpu,
                        processes=bench.processes,
                        memory_gb=max((one / 1e9 for one in seen if one), default=None),
                        shares=shares_of(pairs),
                        total_share=total_of(pairs),
                        throughput_ratios=ratios_of(pairs),
                    )
                )
    return found


def _missing(gpu: str, folder: Path) -> str:
    """Return why the stand-in cannot be had; empty where it can, or is not needed."""
    if gpu != "stand-in" or (folder / "gpus").exists():
        return ""
    if shutil.which("gcc") is None and shutil.which("cc") is None:
        return "no C compiler to build the stand-in with"
    return prepare_stand_in(folder)


def _table(found: Sequence[Found]) -> Table:
    table = Table(title="CPU time of the samplers, % of one core")
    table.add_column("sampler")
    for one in found:
        table.add_column(f"{one.stack}\nGPU: {one.gpu}", justify="right")
    for name in dict.fromkeys(name for one in found for name in one.shares):
        table.add_row(name, *(_percent(one.shares.get(name)) for one in found))
    table.add_section()
    table.add_row("together", *(_percent(one.total_share) for one in found))
    return table


def _line(one: Found) -> str:
    ratios = one.throughput_ratios
    memory = "" if one.memory_gb is None else f", {one.memory_gb:.2f} GB"
    server = f"{one.processes} process{'es' * (one.processes > 1)}{memory}"
    spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})" if ratios else "n/a"
    word = "below" if one.holds else "NOT below"
    return (
        f"{one.stack} ({server}), GPU {one.gpu}: {word} {AIM_SHARE:.0%} of a core; "
        f"throughput with sampling by without, {len(ratios)} pairs: {spread}"
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.3f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry", description=__doc__)
    parser.add_argument("--stack", action="append", help="whose server; may be repeated (fastapi)")
    parser.add_argument("--model", default="efficientnet_lite0", help="what it serves")
    parser.add_argument("--cache", default=".servebench-cache", help="where exported models are kept")
    parser.add_argument("--rounds", type=int, default=8, help="pairs of turns, with sampling and without")
    parser.add_argument("--window", type=float, default=4.0, help="seconds measured of each turn")
    parser.add_argument("--settle", type=float, default=0.5, help="seconds of load before that")
    parser.add_argument("--in-flight", type=int, default=2, help="requests in flight")
    parser.add_argument("--json", help="file for all figures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
