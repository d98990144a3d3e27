"""Our sender against a server that knows its own service times and logs the truth of each request."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.table import Table

from benchmarks.client.measuring import ROOT, Plan
from benchmarks.client.null_server import Truth, compile_server, pinned_to, serving
from benchmarks.client.peers import SENDERS
from pytest_servebench.errors import LoadError

Instants = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One scripted server and one load; ``per_s`` 0 is a closed loop of ``in_flight``."""

    script: str
    in_flight: int = 0
    per_s: int = 0
    for_s: float
    aim_share: float
    aim_ms: float = 0.0
    """The reported p95 is to be within ``aim_share`` of the true one, plus ``aim_ms``."""

    @property
    def load(self) -> str:
        """The load in words."""
        return f"open, {self.per_s} a second" if self.per_s else f"closed, {self.in_flight} in flight"


CASES = (
    Case(script="fixed", in_flight=8, for_s=2, aim_share=0.003, aim_ms=0.05),
    Case(script="mix", in_flight=8, for_s=4, aim_share=0.003, aim_ms=0.05),
    Case(script="mix", in_flight=32, for_s=3, aim_share=0.003, aim_ms=0.05),
    Case(script="fixed", per_s=1000, for_s=3, aim_share=0.02),
    Case(script="stall", per_s=200, for_s=10, aim_share=0.001),
    Case(script="stall", in_flight=8, for_s=5.5, aim_share=0.003, aim_ms=0.05),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was reported, and what was true."""

    case: Case
    requests: int
    reported_ms: tuple[float, float, float]
    """p50, p95 and p99: of reply less send, in an open loop less the intended instant."""
    true_ms: tuple[float, float, float]
    """The same by the server's log: body complete, in an open loop the intended instant, to reply sent."""
    send_lag_us: tuple[float, float] | None
    """p50 and p99 of how late requests were sent; None in a closed loop."""

    @property
    def error_ms(self) -> float:
        """How much more the reported p95 is than the true one."""
        return self.reported_ms[1] - self.true_ms[1]

    @property
    def meets_aim(self) -> bool:
        """Whether the p95 is as near to the truth as it is meant to be."""
        return abs(self.error_ms) <= self.case.aim_share * self.true_ms[1] + self.case.aim_ms


def find(case: Case, plan: Plan) -> Finding:
    """Run one case on a server of its own; raises `LoadError` when requests and log do not agree."""
    with tempfile.TemporaryDirectory(prefix="scripted-server-") as name:
        folder = Path(name)
        binary = compile_server(folder)
        with serving(binary, folder, plan.server_core, case.script) as server:
            samples = _samples(case, plan, server.port, folder / "samples.npz")
            truth = server.truth()
    return judged(case, samples, truth)


def _samples(case: Case, plan: Plan, port: int, out: Path) -> Mapping[str, Instants]:
    words = (str(port), str(case.in_flight or 1), str(case.per_s), str(case.for_s), str(out))
    with pinned_to(plan.client_core):
        done = subprocess.run(
            [sys.executable, str(SENDERS / "ours_sampled.py"), *words],
            env={**os.environ, "PYTHONPATH": ROOT},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise LoadError(f"The case {case.script}, {case.load}, failed.", seen=done.stderr.strip()[-2000:])
    with np.load(out) as saved:
        return dict(saved)


def judged(case: Case, samples: Mapping[str, Instants], truth: Truth) -> Finding:
    """Compare; an open loop pairs the n-th request sent with the n-th that the server had whole."""
    if len(samples["sent_ns"]) != len(truth.body_ns):
        raise LoadError(
            "Client and server do not agree on how many requests there were.",
            seen=f"client {len(samples['sent_ns'])}, server {len(truth.body_ns)}",
        )
    intended_ns = np.sort(samples["intended_ns"])
    arrived = np.argsort(truth.body_ns, kind="stable")
    true_ns = truth.sent_ns[arrived] - (intended_ns if case.per_s else truth.body_ns[arrived])
    lag_ns = samples["sent_ns"] - samples["intended_ns"]
    p50, p95, p99 = np.percentile(samples["received_ns"] - samples["intended_ns"], (50, 95, 99)) / 1e6
    t50, t95, t99 = np.percentile(true_ns, (50, 95, 99)) / 1e6
    l50, l99 = np.percentile(lag_ns, (50, 99)) / 1e3
    return Finding(
        case=case,
        requests=len(lag_ns),
        reported_ms=(float(p50), float(p95), float(p99)),
        true_ms=(float(t50), float(t95), float(t99)),
        send_lag_us=(float(l50), float(l99)) if case.per_s else None,
    )


def truth_table(findings: list[Finding]) -> Table:
    """Return the table of what was reported and what was true."""
    table = Table(title="Our sender against the server's own log")
    table.add_column("service")
    table.add_column("load")
    heads = (
        "requests",
        "true p50 p95 p99, ms",
        "reported, ms",
        "p95 error, ms",
        "send lag p50 p99, us",
        "aim",
    )
    for head in heads:
        table.add_column(head, justify="right")
    for each in findings:
        lag = each.send_lag_us
        table.add_row(
            each.case.script,
            each.case.load,
            f"{each.requests:,}",
            " ".join(f"{value:.2f}" for value in each.true_ms),
            " ".join(f"{value:.2f}" for value in each.reported_ms),
            f"{each.error_ms:+.3f}",
            "" if lag is None else f"{lag[0]:.1f} {lag[1]:.0f}",
            "met" if each.meets_aim else "MISSED",
        )
    return table
