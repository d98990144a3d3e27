"""What a user gave for one option, and the reading of each kind of value (pure)."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pytest_servebench.errors import PlanError
from pytest_servebench.folders.homes import at_home
from pytest_servebench.launchers.server_address import parse_address
from pytest_servebench.plan import Device, ModelFormat
from pytest_servebench.words import Word, did_you_mean, listed

Member = TypeVar("Member", bound=Word)

_DURATION = re.compile(r"(?P<number>\d+(\.\d*)?|\.\d+)\s*(?P<unit>ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PERCENT = re.compile(r"(?P<number>\d+(\.\d*)?|\.\d+)\s*%")
_FINEST, _COARSEST = 0.001, 0.5
_LONGEST_S = 24 * 3600.0
_MOST = 999_999
_TRUTHS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One option's text, and where the user wrote it."""

    flag: str
    """The option as on the command line, e.g. ``--serve-format``."""
    text: str
    source: str = "command line"
    """Where it was written, for messages."""
    base: Path = Path()
    """What a relative path in ``text`` is relative to."""

    def wrong(self, what: str, *, next_step: str = "", seen: str = "") -> PlanError:
        """Return the error that blames this option; ``what`` follows the flag."""
        return PlanError(f"{self.flag} {what}", where=self.source, seen=seen, next_step=next_step)

    def unknown(self, word: str, allowed: Collection[object]) -> PlanError:
        """Return the error for a word outside a closed vocabulary."""
        return self.wrong(
            f"does not know {word!r}{did_you_mean(word, allowed)}",
            next_step=f"use one of: {listed(allowed)}",
        )

    def parts(self) -> tuple[str, ...]:
        """Return the comma-separated parts, in order, each once."""
        parts = tuple(dict.fromkeys(part.strip() for part in self.text.split(",")))
        if "" in parts:
            raise self.wrong(
                "has an empty value", seen=repr(self.text), next_step="give a value, or leave the option out"
            )
        return parts


Asked = Mapping[str, Given]
"""What was given, by option key (``batch-size``); what was not given is absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackWish:
    """Which stacks were asked for."""

    names: tuple[str, ...] = ()
    """Those given by name or URL, in that order."""
    everything: str = ""
    """``all``, ``available`` or nothing."""
    attached: Mapping[str, str]
    """URL by name."""


def parse_stacks(given: Given, offered: Collection[str]) -> StackWish:
    """Return the wish in ``NAME``, ``NAME=URL``, ``all`` and ``available``, separated by commas."""
    names: list[str] = []
    attached: dict[str, str] = {}
    everything = ""
    for part in given.parts():
        name, is_url, url = part.partition("=")
        if not is_url and name in ("all", "available"):
            if everything not in ("", name):
                raise given.wrong("cannot be both all and available", next_step="give one of them")
            everything = name
            continue
        if name not in offered:
            raise given.unknown(name, (*offered, "all", "available"))
        names.append(name)
        if is_url:
            if name in attached:
                raise given.wrong(
                    f"gives two addresses for {name}",
                    seen=f"{attached[name]}, {url}",
                    next_step="give one of them",
                )
            attached[name] = _server_url(given, name, url)
    return StackWish(names=tuple(dict.fromkeys(names)), everything=everything, attached=attached)


def parse_formats(given: Given) -> tuple[ModelFormat, ...] | None:
    """Return the formats, or None for ``all``."""
    allowed = [str(word) for word in ModelFormat]
    parts = given.parts()
    for part in parts:
        if part not in (*allowed, "all"):
            raise given.unknown(part, (*allowed, "all"))
    return None if "all" in parts else tuple(ModelFormat(part) for part in parts)


def parse_word(given: Given, allowed: Collection[object]) -> str:
    """Return the word, one of ``allowed``."""
    word = given.text.strip()
    if word not in [str(one) for one in allowed]:
        raise given.unknown(word, allowed)
    return word


def parse_model(given: Given, models: Collection[str]) -> str:
    """Return the name of a model, one of ``models``; a file is told how it becomes one."""
    if "/" in given.text or given.text.strip().endswith((".onnx", ".pt", ".pth", ".plan")):
        raise given.wrong(
            f"takes the name of a model, not a file: {given.text.strip()!r}",
            next_step=f"use one of: {listed(models)}; docs/bring-your-model.md says how weights and another "
            "architecture become one; --stack=NAME=URL measures a server that answers as one of them does",
        )
    return parse_word(given, models)


def parse_member(given: Given, vocabulary: type[Member]) -> Member:
    """Return the word, a member of ``vocabulary``."""
    return vocabulary(parse_word(given, list(vocabulary)))


def parse_counts(given: Given, most: int = _MOST) -> tuple[int, ...]:
    """Return whole numbers from 1 to ``most``, each once, in the order given."""
    return tuple(dict.fromkeys(_count(given, part, most) for part in given.parts()))


def parse_count(given: Given, most: int = _MOST) -> int:
    """Return one whole number from 1 to ``most``."""
    return _count(given, given.text.strip(), most)


def parse_seconds(given: Given, *, least_s: float) -> float:
    """Return seconds from ``10``, ``10s``, ``500ms``, ``2m`` or ``1h``, at least ``least_s``."""
    match = _DURATION.fullmatch(given.text.strip())
    seconds = math.nan if match is None else float(match["number"]) * _SECONDS[match["unit"] or "s"]
    if not least_s <= seconds <= _LONGEST_S:
        raise given.wrong(
            f"is not a time from {least_s:g} s to 24 h: {given.text!r}",
            next_step="give seconds, or a number with a unit: 10, 10s, 500ms, 2m",
        )
    return seconds


def parse_warmup(given: Given, *, auto_s: float) -> tuple[float, bool]:
    """Return how long to warm up, and whether that is a limit: ``auto`` is up to ``auto_s``."""
    if given.text.strip() == "auto":
        return auto_s, True
    try:
        return parse_seconds(given, least_s=0.0), False
    except PlanError as error:
        raise given.wrong(
            f"is neither auto nor a time from 0 s to 24 h: {given.text!r}",
            next_step=f"give auto, or {error.next_step.removeprefix('give ')}",
        ) from error


def parse_percent(given: Given) -> float:
    """Return the share in ``5%``, from 0.1% to 50%."""
    match = _PERCENT.fullmatch(given.text.strip())
    share = math.nan if match is None else float(match["number"]) / 100
    if not _FINEST <= share <= _COARSEST:
        raise given.wrong(
            f"is not a percentage from {_FINEST:.1%} to {_COARSEST:.0%}: {given.text!r}",
            next_step="give a number with its sign, as in 5%",
        )
    return share


def parse_truth(given: Given) -> bool:
    """Return yes or no."""
    word = given.text.strip().lower()
    if word not in _TRUTHS:
        raise given.wrong(f"is neither true nor false: {given.text!r}", next_step="give true or false")
    return _TRUTHS[word]


def parse_device(given: Given, gpus: int = 1) -> Device | None:
    """Return the device, or None for ``auto``; ``cuda`` is the first GPU, ``cuda:all`` all of so many.

    ``cuda:0,2`` is one device too: a server that computes on both.
    """
    word = given.text.strip()
    kind, has_index, index = word.partition(":")
    known = kind == "cuda" or (kind in ("auto", "cpu") and not has_index)
    if not known or (has_index and not re.fullmatch(r"all|\d{1,3}(,\d{1,3})*", index)):
        raise given.unknown(word, ("auto", "cpu", "cuda", "cuda:N", "cuda:N,M", "cuda:all"))
    if kind != "cuda":
        return None if kind == "auto" else Device(kind)
    if index == "all":
        return Device(kind, 0, tuple(range(1, gpus)))
    first, *more = sorted(map(int, (index or "0").split(",")))
    if len({first, *more}) <= len(more):
        raise given.wrong(f"names a GPU twice: {word}", next_step="name each once, as in cuda:0,1")
    return Device(kind, first, tuple(more))


def parse_path(given: Given, what: str = "file") -> Path:
    """Return the path of a file, or ``what`` else, resolved against where it was written."""
    if not given.text.strip():
        raise given.wrong("has an empty value", next_step=f"give a {what}")
    return given.base / at_home(given.text, given.flag, given.source)


def _count(given: Given, text: str, most: int) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", text) or int(text) > most:
        to = f" to {most}" if most < _MOST else ""
        raise given.wrong(
            f"is not a whole number from 1{to}: {text!r}",
            next_step="give a number, as in 8" + (", or several, as in 1,8,32" if "," in given.text else ""),
        )
    return int(text)


def _server_url(given: Given, name: str, url: str) -> str:
    try:
        parse_address(url)
    except PlanError as error:
        raise given.wrong(
            f"gives {name} an address that cannot be used: {url!r}",
            seen=error.seen,
            next_step=f"give its server as {name}=http://HOST:PORT, other ports as ?grpc=PORT&metrics=PORT",
        ) from error
    return url.rstrip("/")
