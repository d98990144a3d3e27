"""A real Prometheus beside a test, and the real promtool; where they are missing the test is skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.launchers.process import ProcessLauncher
from pytest_servebench.plan import LaunchSpec, ReadyCheck, WorkFile
from tests.engine import REQUIRED

INTERVAL_S = 0.5
DEADLINE_S = 30.0
LINT_FOUND = 3
"""promtool's exit code for a page that can be read and breaks a convention."""

_CONFIG = """\
global:
  scrape_interval: {interval_ms}ms
  scrape_timeout: {interval_ms}ms
scrape_configs:
{jobs}
"""
_JOB = """\
  - job_name: {name}
    static_configs:
      - targets: ["{target}"]
"""


def installed(*programs: str) -> None:
    """Skip the test where one of these is missing; fail it where our CI says that it must not be."""
    missing = [program for program in programs if shutil.which(program) is None]
    why_not = f"not installed: {', '.join(missing)}; Debian's package prometheus has both"
    if missing and os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set: {why_not}", pytrace=False)
    if missing:
        pytest.skip(why_not)


def complaints(page: str) -> set[str]:
    """Return what promtool finds wrong with a metrics page: a metric's name and a sentence each."""
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode in (0, LINT_FOUND), f"promtool cannot read it: {done.stdout}{done.stderr}"
    found = set((done.stdout + done.stderr).splitlines())
    assert bool(found) == (done.returncode == LINT_FOUND)
    return found


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs; each of its jobs has one target."""

    url: str

    def value(self, promql: str) -> float | None:
        """Return an instant query's only value; None where it has no result."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": promql}, timeout=DEADLINE_S).json()
        assert answer["status"] == "success", answer
        results: list[Any] = answer["data"]["result"]
        if not results:
            return None
        assert len(results) == 1, f"{promql} has {len(results)} results"
        return float(results[0]["value"][1])

    def until(self, promql: str, holds: Callable[[float], bool]) -> float:
        """Return the value of a query once it is as it should be, asked until the deadline."""
        clock = MonotonicClock()
        end_ns = clock.now_ns() + round(DEADLINE_S * 1e9)
        while True:
            value = self.value(promql)
            if value is not None and holds(value):
                return value
            assert clock.now_ns() < end_ns, f"{promql} is {value} after {DEADLINE_S:g} s"
            clock.sleep_s(0.1)

    def has_seen_now(self, job: str) -> None:
        """Return once it has scraped a job's target after this call, successfully."""
        # Its timestamps are this machine's wall clock; a scrape bears the time at which it began.
        now_s = time.time()
        self.until(f'timestamp(up{{job="{job}"}} == 1)', lambda at_s: at_s > now_s)


@contextmanager
def scraping(targets: Mapping[str, str], workdir: Path) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes ``targets`` (host:port by job), in a folder that is its own."""
    jobs = "".join(_JOB.format(name=name, target=target) for name, target in targets.items())
    spec = LaunchSpec(
        name="prometheus",
        argv=(
            "prometheus",
            "--config.file=${workdir}/prometheus.yml",
            "--storage.tsdb.path=${workdir}/data",
            "--web.listen-address=${host}:${http_port}",
            "--log.level=warn",
        ),
        files=(
            WorkFile(
                path="prometheus.yml", text=_CONFIG.format(interval_ms=round(INTERVAL_S * 1e3), jobs=jobs)
            ),
        ),
        ready=ReadyCheck(path="/-/ready", deadline_s=DEADLINE_S),
    )
    server = ProcessLauncher().start("prometheus", spec, workdir)
    try:
        yield Prometheus(f"http://{server.endpoint.authority()}")
    finally:
        server.stop()
