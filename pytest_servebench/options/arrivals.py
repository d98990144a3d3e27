"""How arrivals are written: ``poisson:50``, ``stages:10s:100,30s:100`` ...; see docs/load-shapes.md."""

from __future__ import annotations

import re
import stat
from dataclasses import replace
from pathlib import Path

from pytest_servebench.arrivals import (
    AUTO,
    CLOSED,
    REFERENCE,
    Arrivals,
    Constant,
    Poisson,
    Replay,
    Scale,
    Stage,
    Staged,
)
from pytest_servebench.errors import PlanError
from pytest_servebench.options.given import Given, parse_path, parse_seconds
from pytest_servebench.words import did_you_mean

FORMS = (
    CLOSED,
    "constant:RATE",
    "poisson:RATE",
    "stages:[START:]TIME:RATE,TIME:RATE,...",
    "poisson-stages:...",
    "reference",
    "replay:FILE",
)
LARGEST_TRACE_BYTES = 64 * 2**20
HIGHEST_PER_S = 1_000_000.0
LEAST_SCALE = 0.0001
HIGHEST_SCALE = 1000.0
_NUMBER = re.compile(r"\d+(\.\d*)?|\.\d+")
_KINDS = (CLOSED, "constant", "poisson", "stages", "poisson-stages", "reference", "replay")
_STAGE_FORM = "a stage is TIME:RATE, as in 2m:100; the first may begin with a start rate, as in 20:2m:100"


def parse_arrivals(given: Given) -> Arrivals | None:
    """Return the arrivals, or None for ``closed``; raises `PlanError` that names the stage or the line.

    A replay's file is read here, so that what is wrong with it is told before anything runs.
    """
    kind, has_rest, rest = (part.strip() for part in given.text.partition(":"))
    if kind not in _KINDS:
        raise given.wrong(
            f"does not know {kind!r}{did_you_mean(kind, _KINDS)}",
            next_step=f"give one of: {', '.join(FORMS)}",
        )
    if kind in (CLOSED, "reference"):
        if has_rest:
            raise given.wrong(
                f"takes nothing after {kind}", seen=repr(given.text), next_step=f"give {kind} alone"
            )
        return None if kind == CLOSED else REFERENCE
    if kind == "replay":
        return _replay(given, rest)
    if kind in ("constant", "poisson"):
        per_s = _rate(given, rest, kind)
        if not per_s:
            raise given.wrong(
                f"has a rate of 0 in {kind}: nothing would arrive",
                seen=repr(given.text),
                next_step=f"give a rate above 0, as in {kind}:50",
            )
        return Constant(per_s) if kind == "constant" else Poisson(per_s)
    return _staged(given, rest, random=kind == "poisson-stages")


def parse_scale(given: Given) -> Scale:
    """Return the factor, or ``auto``; raises `PlanError`."""
    text = given.text.strip()
    if text == AUTO:
        return AUTO
    number = _NUMBER.fullmatch(text)
    if number is None or not LEAST_SCALE <= float(text) <= HIGHEST_SCALE:
        raise given.wrong(
            f"is no factor: {given.text!r}",
            next_step=f"give a number from {LEAST_SCALE:g} to {HIGHEST_SCALE:g}, as in 0.05, or {AUTO}",
        )
    return float(text)


def _rate(given: Given, text: str, place: str) -> float:
    number = _NUMBER.fullmatch(text.strip())
    if number is None or float(text) > HIGHEST_PER_S or 0 < float(text) < LOWEST_PER_S:
        raise given.wrong(
            f"has no rate in {place}: {text!r}",
            seen=repr(given.text),
            next_step=f"a rate is requests per second, 0 or from {LOWEST_PER_S:g} to {HIGHEST_PER_S:g}, "
            "as in constant:100 or stages:2m:100",
        )
    return float(text)


def _staged(given: Given, text: str, *, random: bool) -> Staged:
    parts = [[piece.strip() for piece in part.split(":")] for part in text.split(",")]
    start_per_s = 0.0
    if len(parts[0]) == len(("start", "time", "rate")):
        start_per_s = _rate(given, parts[0].pop(0), "the start of stage 1")
    stages = tuple(_stage(given, pieces, f"stage {number}") for number, pieces in enumerate(parts, start=1))
    staged = Staged(stages=stages, start_per_s=start_per_s, random=random)
    ends = [start_per_s, *(stage.per_s for stage in stages)]
    rising = zip(ends, ends[1:], stages, strict=False)
    if not any((begin or end) and stage.duration_s for begin, end, stage in rising):
        raise given.wrong("has stages in which nothing arrives", seen=repr(given.text), next_step=_STAGE_FORM)
    return staged


def _stage(given: Given, pieces: list[str], place: str) -> Stage:
    if len(pieces) != len(("time", "rate")):
        raise given.wrong(
            f"has no TIME:RATE in {place}: {':'.join(pieces)!r}", seen=repr(given.text), next_step=_STAGE_FORM
        )
    time, rate = pieces
    of_place = replace(given, flag=f"{given.flag} {place}", text=time)
    return Stage(parse_seconds(of_place, least_s=0.0), _rate(given, rate, place))


def _replay(given: Given, file: str) -> Replay:
    path = parse_path(replace(given, text=file))
    try:
        _check_size(given, path)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise given.wrong(
            "names a file that cannot be read",
            seen=str(error),
            next_step="give a text file of offsets; a path is relative to where the option is written",
        ) from error
    from pytest_servebench.load.arrivals import parse_offsets

    try:
        offsets_ns = parse_offsets(text, str(path))
    except PlanError as error:
        raise PlanError(
            f"{given.flag}: {error.what}",
            where=error.where or given.source,
            seen=error.seen,
            next_step=error.next_step,
        ) from error
    return Replay(path=path, length_s=float(offsets_ns[-1]) / 1e9)


def _check_size(given: Given, path: Path) -> None:
    """Raise `PlanError` for what would be read for ever, and for what no memory should hold."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise given.wrong("names what is no regular file", seen=str(path), next_step="give a file of offsets")
    if status.st_size > LARGEST_TRACE_BYTES:
        raise given.wrong(
            "names a file that is too large for a trace",
            seen=f"{path}: {status.st_size} bytes",
            next_step=f"give a file of at most {LARGEST_TRACE_BYTES} bytes",
        )


LOWEST_PER_S = 0.001
"""One in a quarter of an hour: what is rarer never arrives in a benchmark."""
