"""What a second worker adds: one and two on the same server, in turn, and where the cores' time goes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.table import Table

from benchmarks.client.measuring import tree_cpu_ns
from benchmarks.client.null_server import NullServer, compile_server, serving
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.plan import Load, WireProtocol, WireRequest
from pytest_servebench.results import Endpoint, Progress
from pytest_servebench.samples import Outcome, Samples

AIM = 1.8
"""Close to twice: where client and server together need no more cores than there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One server and one request; ``script`` as `null_server.serving` takes it."""

    name: str
    script: str | None
    body_bytes: int


SETTINGS = (
    Setting(name="replies of 2,000 chunks: reading them is the work", script="chunks", body_bytes=500),
    Setting(name="60,000-byte POST: the server works too", script=None, body_bytes=60_000),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One window of one team."""

    setting: Setting
    round: int
    workers: int
    per_s: float
    worker_cores: tuple[float, ...]
    """Share of a core that each used inside the window."""
    server_cores: float

    @property
    def cores(self) -> float:
        """Cores in use by client and server."""
        return sum(self.worker_cores) + self.server_cores


class _Nobody:
    def progress(self, progress: Progress) -> None:
        """Look away."""

    def server_gone(self) -> str | None:
        """Know nothing."""
        return None


def turns(rounds: int, window_s: float, in_flight: int, most: int = 2) -> Iterator[Turn]:
    """Measure every team on every server, each round the other way round; raises `ServebenchError`."""
    driver = LoadDriver()
    try:
        with tempfile.TemporaryDirectory(prefix="null-server-") as name:
            binary = compile_server(Path(name))
            for setting in SETTINGS:
                with serving(binary, Path(name), None, setting.script) as server:
                    for number in range(rounds):
                        teams = list(range(1, most + 1))
                        for workers in teams if number % 2 == 0 else reversed(teams):
                            load = Load(
                                concurrency=in_flight,
                                warmup_s=0.3,
                                duration_s=window_s,
                                verify_share=0.0,
                                workers=("popen",) * workers,
                            )
                            yield _turn(driver, setting, server, load, number)
    finally:
        driver.close()


def _turn(driver: LoadDriver, setting: Setting, server: NullServer, load: Load, number: int) -> Turn:
    body = b"0123456789abcdef" * (setting.body_bytes // 16 + 1)
    request = WireRequest(protocol=WireProtocol.HTTP, path="/", body=body[: setting.body_bytes])
    endpoint = Endpoint(stack="null", host="127.0.0.1", ports={"http": server.port}, launcher="null")
    cpu_ns, served = tree_cpu_ns(server.pid), server.counts().requests
    samples = driver.run(endpoint, [request], load, _Nobody())
    served = server.counts().requests - served
    per_request_s = (tree_cpu_ns(server.pid) - cpu_ns) / 1e9 / max(1, served)
    per_s = _per_s(samples)
    return Turn(
        setting=setting,
        round=number,
        workers=len(load.workers),
        per_s=per_s,
        worker_cores=tuple(one.client_cpu_s / load.duration_s for one in samples.clients),
        server_cores=per_request_s * per_s,
    )


def _per_s(samples: Samples) -> float:
    begin, end = samples.window_ns
    inside = (begin < samples.received_ns) & (samples.received_ns <= end) & (samples.outcome == Outcome.OK)
    folded = samples.folded.inside.outcomes[Outcome.OK] if samples.folded else 0
    return (int(inside.sum()) + folded) / ((end - begin) / 1e9)


def workers_table(found: Sequence[Turn]) -> Table:
    """Return the medians of every team, and the ratios within rounds."""
    table = Table(title=f"One worker and more, {len(os.sched_getaffinity(0))} cores; medians")
    heads = ("workers", "requests/s", "to one (least..most)", "cores by worker", "server", "in use")
    table.add_column("server and request")
    for head in heads:
        table.add_column(head, justify="right")
    for setting in SETTINGS:
        for workers in sorted({turn.workers for turn in found}):
            team = [turn for turn in found if (turn.setting, turn.workers) == (setting, workers)]
            ratios = ratios_of(found, setting, workers)
            cores = zip(*(turn.worker_cores for turn in team), strict=True)
            table.add_row(
                setting.name,
                str(workers),
                f"{median(turn.per_s for turn in team):,.0f}",
                f"{median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})",
                " ".join(f"{median(one):.2f}" for one in cores),
                f"{median(turn.server_cores for turn in team):.2f}",
                f"{median(turn.cores for turn in team):.2f}",
            )
    return table


def ratios_of(found: Sequence[Turn], setting: Setting, workers: int) -> list[float]:
    """Return the throughput of so many workers over that of one, round by round."""
    rates = {(turn.round, turn.workers): turn.per_s for turn in found if turn.setting == setting}
    return [rate / rates[number, 1] for (number, team), rate in rates.items() if team == workers]


def aim_line(found: Sequence[Turn]) -> str:
    """Return whether two workers carry close to twice one's load where the server leaves the cores free."""
    ratio = median(ratios_of(found, SETTINGS[0], 2))
    return f"two workers to one, the server leaving the cores free: {ratio:.2f}, aim {AIM:g}: " + (
        "met" if ratio >= AIM else "missed"
    )
