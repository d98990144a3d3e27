"""A case with all its replicates, and which cases are alike but for what a question is about (pure)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pytest_servebench.arrivals import CLOSED
from pytest_servebench.comparison.intervals import Ratio, ratio_across
from pytest_servebench.comparison.replicates import Record, replicates_of
from pytest_servebench.reports.repeats import joined_rows
from pytest_servebench.reports.row import VALID, Row

Value = Callable[[Row], float | None]
_NOT_ASKED = frozenset({"id", "repeat"})
_NEEDED = frozenset({"telemetry", "figures", "case", "load"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """One case."""

    row: Row
    replicates: tuple[Record, ...]
    """Every record of it; those of one repeat number once, as it was measured first."""

    @property
    def valid(self) -> tuple[Record, ...]:
        """The records that may be believed."""
        return tuple(record for record in self.replicates if record["validity"] == VALID)

    @property
    def name(self) -> str:
        """Stack and format, and the precision where it is not fp32."""
        return f"{self.row.stack} {self.row.form}"

    @property
    def in_flight(self) -> int:
        """Images in flight of a closed loop; 0 of an open one, whose number nobody chose."""
        load = self.replicates[0]["load"]
        if load.get("arrivals", CLOSED) != CLOSED or self.replicates[0]["case"].get("objective"):
            return 0
        return int(load.get("concurrency") or 0) * self.row.items_per_request

    def alike(self, *but: str) -> str:
        """Return all that was asked, in one word, but for these fields of the case and for how often."""
        record = self.replicates[0]
        case = {key: value for key, value in record["case"].items() if key not in {*_NOT_ASKED, *but}}
        asked = [case, record["load"], record.get("launcher"), record.get("measurement", 1)]
        return json.dumps(asked, sort_keys=True, default=str)

    def values(self, value: Value) -> list[float]:
        """Return a figure of every replicate that may be believed."""
        rows = self.row.valid or ((self.row,) if self.row.validity == VALID else ())
        return [found for row in rows if (found := value(row)) is not None]


def measured_cases(records: Sequence[Record]) -> tuple[Measured, ...]:
    """Return every case of a run, in order of first appearance.

    Records cut down to what a gate compares (those of a baseline) tell too little, and are left out.
    """
    found = []
    for replicates in replicates_of(r for r in records if r.keys() >= _NEEDED).values():
        alone = [record for record in replicates if record.get("repeat") is None]
        numbered = tuple(record for record in replicates if record.get("repeat") is not None)
        for together in (*((record,) for record in alone), numbered):
            found += [Measured(row=row, replicates=together) for row in joined_rows(together)]
    return tuple(found)


def once(cases: Iterable[Measured]) -> tuple[Measured, ...]:
    """Return the first of all cases that were asked the same, by whichever benchmark."""
    found: dict[str, Measured] = {}
    for each in cases:
        found.setdefault(each.alike(), each)
    return tuple(found.values())


def ratio(over: Measured, under: Measured, value: Value) -> Ratio | None:
    """Return how many times as great a figure is, over replicates; None where either has none.

    Without an interval where a server was not started anew for each of them.
    """
    found = ratio_across(over.values(value), under.values(value))
    repeated = all(each.row.replicates and each.row.restarted for each in (over, under))
    return found if found is None or repeated else Ratio(value=found.value, interval=None)
