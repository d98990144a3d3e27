"""The thresholds file: which limits hold for a case on this hardware (pure).

Its form is told at the head of ``benchmarks/thresholds.toml``.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_servebench.arrivals import text_of
from pytest_servebench.counts import count_of, is_count
from pytest_servebench.errors import PlanError
from pytest_servebench.gate import METRICS
from pytest_servebench.gpu_kinds import is_gpu
from pytest_servebench.models.catalogue import CATALOGUE
from pytest_servebench.objective import parse_objective
from pytest_servebench.plan import Case, Device, ModelFormat, Payload, Precision, Threshold, WireProtocol
from pytest_servebench.toml_source import KeyPath, TomlSource
from pytest_servebench.words import did_you_mean, listed

Row = Mapping[str, Any]

CAPACITY = "capacity_per_s"
_PROFILE_KEYS = ("device", "gpu_name", "gpus", "min_cores", "max_cores")
_SELECTORS: Mapping[str, Collection[str] | None] = {
    "model": tuple(CATALOGUE),
    "stack": None,
    "format": [str(word) for word in ModelFormat],
    "precision": [str(word) for word in Precision],
    "payload": [str(word) for word in Payload],
    "protocol": [str(word) for word in WireProtocol],
    "arrivals": None,
    "objective": None,
}
"""Selectors that hold words, with the words they allow (None: any)."""
_COUNTS = ("max_batch_size", "items_per_request", "concurrency")
_LIMIT_KEYS = ("profile", *_SELECTORS, *_COUNTS, *METRICS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What the served model computes on, as far as a profile can ask for it."""

    device: Device
    logical_cores: int
    gpu_names: tuple[str, ...] = ()
    """Of each GPU, as the driver reports it; empty when they are not known."""

    def __str__(self) -> str:
        names = f" ({', '.join(dict.fromkeys(self.gpu_names))})" if self.gpu_names else ""
        return f"{self.device}{names}, {self.logical_cores} logical cores"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A kind of machine; everything that it states must hold."""

    name: str
    device: str | None = None
    gpu_name: str | None = None
    gpus: int | None = None
    min_cores: int | None = None
    max_cores: int | None = None

    def matches(self, hardware: Hardware) -> bool:
        """Return whether ``hardware`` is of this kind."""
        return (
            (self.device is None or self.device == hardware.device.kind)
            and (self.gpu_name is None or self._is_of_gpus(hardware))
            and self._is_of_as_many(hardware)
            and (self.min_cores is None or hardware.logical_cores >= self.min_cores)
            and (self.max_cores is None or hardware.logical_cores <= self.max_cores)
        )

    def _is_of_gpus(self, hardware: Hardware) -> bool:
        """Return whether every GPU of it has the name; one of another kind would be judged for nothing."""
        names = hardware.gpu_names if hardware.device.kind == "cuda" else ()
        return bool(names) and all(is_gpu(self.gpu_name or "", name) for name in names)

    def _is_of_as_many(self, hardware: Hardware) -> bool:
        """Return whether it has as many GPUs: one, of a profile that speaks of a GPU and not of how many."""
        of_gpu = self.gpus is not None or self.gpu_name is not None or self.device == "cuda"
        return not of_gpu or len(hardware.device.indexes) == (self.gpus or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRow:
    """One ``[[limits]]`` table: which cases it speaks of, and their limits by key of `gate.METRICS`."""

    profile: str
    words: Mapping[str, tuple[str, ...]]
    counts: Mapping[str, tuple[int | str, ...]]
    limits: Mapping[str, float]

    def matches(self, case: Case) -> bool:
        """Return whether ``case`` is one of them; a selector left out matches everything."""
        deployment = case.deployment
        words = {
            "model": deployment.model,
            "stack": case.stack,
            "format": str(deployment.format),
            "precision": str(deployment.precision),
            "payload": str(case.payload),
            "protocol": str(case.protocol),
            "arrivals": text_of(case.load.arrivals),
            "objective": str(case.objective or ""),
        }
        counts = {
            "max_batch_size": deployment.max_batch_size,
            "items_per_request": case.items_per_request,
            # an open loop keeps no number in flight, so no number of a limit is its
            "concurrency": case.load.concurrency if not (case.load.arrivals or case.objective) else 0,
        }
        return all(words[key] in allowed for key, allowed in self.words.items()) and all(
            any(counts[key] == count_of(given, deployment.max_batch_size) for given in allowed)
            for key, allowed in self.counts.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdsFile:
    """All limits of one file."""

    name: str
    profiles: tuple[Profile, ...]
    rows: tuple[LimitRow, ...]

    def stacks_not_in(self, offered: Collection[str]) -> tuple[str, ...]:
        """Return stacks that have limits here and are not offered: another plugin's, or a slip of the pen."""
        named = {stack for row in self.rows for stack in row.words.get("stack", ())}
        return tuple(sorted(named.difference(offered)))


def thresholds_for(file: ThresholdsFile, case: Case, hardware: Hardware | None) -> tuple[Threshold, ...]:
    """Return the limits that hold for ``case``, at most one per metric: the strictest.

    Every row of every profile that matches applies, so a further row can only add or
    tighten a limit. ``capacity_per_s`` holds for cases with an objective, and it alone: at a rate
    that is looked for, the other figures are whatever it makes them. ``hardware`` None (a server
    that runs elsewhere) matches no profile.
    """
    if hardware is None:
        return ()
    kinds = {profile.name for profile in file.profiles if profile.matches(hardware)}
    strictest: dict[str, Threshold] = {}
    for row in file.rows:
        if row.profile in kinds and row.matches(case):
            for threshold in _thresholds_of(row, searched=case.objective is not None):
                held = strictest.get(threshold.metric)
                if held is None or _stricter(threshold, held):
                    strictest[threshold.metric] = threshold
    return tuple(strictest.values())


def why_ungated(file: ThresholdsFile, case: Case, hardware: Hardware | None) -> str:
    """Return one sentence on why `thresholds_for` found no limit."""
    if hardware is None:
        return f"{case.stack} runs on hardware this session cannot see, so no profile of {file.name} applies"
    kinds = [profile.name for profile in file.profiles if profile.matches(hardware)]
    if not kinds:
        names = listed(profile.name for profile in file.profiles)
        return f"no profile of {file.name} matches {hardware}; it has: {names}"
    # Without the case's name, which stands beside it: what is said of many cases is then one line.
    model = case.deployment.model
    return f"no limit of {file.name} in profile {listed(kinds)} speaks of {model} as it was asked here"


def parse_thresholds(text: str, name: str = "thresholds.toml") -> ThresholdsFile:
    """Return the limits in ``text``.

    Raises `PlanError` with file, line and key for anything that is not understood.
    """
    source = TomlSource(text, name)
    data = source.data()
    source.check_keys(data, (), ("profiles", "limits"))
    profiles = data.get("profiles", {})
    rows = data.get("limits", [])
    if not isinstance(profiles, dict) or not all(isinstance(table, dict) for table in profiles.values()):
        raise source.wrong(("profiles",), "'profiles' must hold tables", next_step="write [profiles.NAME]")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise source.wrong(("limits",), "'limits' must be tables", next_step="write [[limits]]")
    return ThresholdsFile(
        name=name,
        profiles=tuple(_profile(source, key, table) for key, table in profiles.items()),
        rows=tuple(_limit_row(source, ("limits", i), row, tuple(profiles)) for i, row in enumerate(rows)),
    )


def _thresholds_of(row: LimitRow, *, searched: bool) -> list[Threshold]:
    return [
        Threshold(
            metric=METRICS[key].field,
            limit=limit,
            at_most=METRICS[key].at_most,
            profile=row.profile,
        )
        for key, limit in row.limits.items()
        if (key == CAPACITY) == searched
    ]


def _stricter(one: Threshold, other: Threshold) -> bool:
    return one.limit < other.limit if one.at_most else one.limit > other.limit


def _profile(source: TomlSource, name: str, table: Row) -> Profile:
    at: KeyPath = ("profiles", name)
    source.check_keys(table, at, _PROFILE_KEYS)
    if not table:
        raise source.wrong(
            at,
            f"profile {name!r} does not say which hardware it means",
            next_step=f"give at least one of: {listed(_PROFILE_KEYS)}",
        )
    for key in ("device", "gpu_name"):
        if key in table:
            _words(source, (*at, key), table[key], ("cpu", "cuda") if key == "device" else None, many=False)
    for key in ("gpus", "min_cores", "max_cores"):
        if key in table:
            _counts(source, (*at, key), table[key], relative=False, many=False)
    return Profile(name=name, **table)


def _limit_row(source: TomlSource, at: KeyPath, row: Row, profiles: Collection[str]) -> LimitRow:
    source.check_keys(row, at, _LIMIT_KEYS)
    if "profile" not in row:
        raise source.wrong(
            at, "a limit must name its profile", next_step=f"profiles here: {listed(profiles)}"
        )
    (profile,) = _words(source, (*at, "profile"), row["profile"], profiles, many=False)
    limits = {key: _limit(source, (*at, key), row[key]) for key in METRICS if key in row}
    if not limits:
        raise source.wrong(
            at, "a limit without any figure", next_step=f"give at least one of: {listed(METRICS)}"
        )
    return LimitRow(
        profile=profile,
        words={k: _selected(source, (*at, k), row[k], ok) for k, ok in _SELECTORS.items() if k in row},
        counts={
            k: _counts(source, (*at, k), row[k], relative=k != "max_batch_size") for k in _COUNTS if k in row
        },
        limits=limits,
    )


def _limit(source: TomlSource, at: KeyPath, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= sys.float_info.max:
        raise source.wrong(
            at,
            f"{at[-1]!r} must be a number above 0",
            seen=repr(value),
            next_step=f"write it as in: {at[-1]} = 50",
        )
    return float(value)


def _selected(
    source: TomlSource, at: KeyPath, value: object, allowed: Collection[str] | None
) -> tuple[str, ...]:
    """Return a selector's words, objectives among them as a case prints its own."""
    words = _words(source, at, value, allowed)
    if at[-1] != "objective":
        return words
    try:
        return tuple(str(parse_objective(word, flag="'objective'")) for word in words)
    except PlanError as error:
        raise source.wrong(at, error.what, seen=error.seen, next_step=error.next_step) from error


def _words(
    source: TomlSource,
    at: KeyPath,
    value: object,
    allowed: Collection[str] | None,
    *,
    many: bool = True,
) -> tuple[str, ...]:
    given: list[Any] = value if many and isinstance(value, list) else [value]
    form = "a word, or a list of words" if many else "a word"
    if not given or not all(isinstance(word, str) and word for word in given):
        raise source.wrong(
            at, f"{at[-1]!r} must be {form}", seen=repr(value), next_step=f'write it as in: {at[-1]} = "..."'
        )
    for word in given:
        if allowed is not None and word not in allowed:
            raise source.wrong(
                at,
                f"{at[-1]!r} does not know {word!r}{did_you_mean(word, allowed)}",
                next_step=f"use one of: {listed(allowed)}",
            )
    return tuple(given)


def _counts(
    source: TomlSource,
    at: KeyPath,
    value: object,
    *,
    relative: bool,
    many: bool = True,
) -> tuple[int | str, ...]:
    given: list[Any] = value if many and isinstance(value, list) else [value]
    form = "a whole number from 1" + (', or like "2b" (twice max_batch_size)' if relative else "")
    if not given or not all(is_count(one, relative=relative) for one in given):
        raise source.wrong(
            at,
            f"{at[-1]!r} must be {form}{', or a list of them' * many}",
            seen=repr(value),
            next_step=f"write it as in: {at[-1]} = 8",
        )
    return tuple(given)
