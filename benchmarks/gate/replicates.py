"""What was measured, one replicate a line, on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.gate.schedule import Turn, turn_of
from pytest_servebench.errors import PlanError

FILE = "replicates.jsonl"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Replicate:
    """One server's life."""

    turn: Turn
    record: Mapping[str, Any]
    """As `record.make_record` has it."""
    times_s: Sequence[float]
    """Every response time of its window."""
    when: str
    """UTC."""


class Replicates:
    """A folder of replicates, to which each is added as soon as it is measured."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def add(self, replicate: Replicate) -> None:
        """Write one more line; one that was cut off before it goes."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._drop_torn()
        line = json.dumps({**asdict(replicate), "times_s": [round(one, 7) for one in replicate.times_s]})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def _drop_torn(self) -> None:
        if self.path.exists() and not (known := self.path.read_bytes()).endswith(b"\n"):
            self.path.write_bytes(known[: known.rfind(b"\n") + 1])

    def read(self) -> dict[Turn, Replicate]:
        """Return every replicate by its turn, the last where a turn was taken twice."""
        if not self.path.exists():
            return {}
        with self.path.open(encoding="utf-8") as file:
            # A line without an end was being written when the run was stopped.
            found = [_replicate(line) for line in file if line.endswith("\n")]
        return {each.turn: each for each in found}

    def read_some(self) -> tuple[Replicate, ...]:
        """Return every replicate in order of measuring; raises `PlanError` when there is none."""
        found = sorted(self.read().values(), key=lambda each: each.when)
        if not found:
            raise PlanError(
                "there is nothing to judge",
                where=str(self.path),
                next_step="gather replicates first: python -m benchmarks.gate",
            )
        return tuple(found)


def _replicate(line: str) -> Replicate:
    fields = json.loads(line)
    return Replicate(**{**fields, "turn": turn_of(fields["turn"])})
