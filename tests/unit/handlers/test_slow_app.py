"""The server of the gate's proof sleeps a share of its own service time, and is else the shipped one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.gate.server import slow_app
from pytest_servebench.testing.clock import FakeClock


def reply_times_s(
    monkeypatch: pytest.MonkeyPatch, share: float, method: str = "POST"
) -> tuple[list[float], list[float]]:
    """Return when each part of a reply went out, and the sleeps, of an app that computes for 10 ms."""
    clock = FakeClock()

    def now_s() -> float:
        return clock.now_ns() / 1e9

    monkeypatch.setattr(slow_app, "time", SimpleNamespace(perf_counter=now_s, sleep=clock.sleep_s))
    began_s = now_s()
    sent_s: list[float] = []

    async def computing(_scope: Any, _receive: Any, send: Any) -> None:
        clock.advance_s(0.010)
        await send({"type": "http.response.start"})
        clock.advance_s(0.001)
        await send({"type": "http.response.body"})

    async def send(_: Any) -> None:
        sent_s.append(round(now_s() - began_s, 6))

    app = slow_app.Slowed(computing, share)
    asyncio.run(app({"type": "http", "method": method}, None, send))
    return sent_s, [round(slept, 6) for slept in clock.slept_s]


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_a_reply_begins_late_by_a_share_of_what_it_took(
    monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """+10% of 10 ms is one sleep of 1 ms before the reply begins, and none while its body is sent."""
    assert reply_times_s(monkeypatch, share) == (
        [round(0.010 * (1 + share), 6), round(0.011 + 0.010 * share, 6)],
        [round(0.010 * share, 6)],
    )


def test_a_server_that_is_not_slowed_never_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base of every comparison runs the same application, with a share of 0."""
    assert reply_times_s(monkeypatch, 0.0) == ([0.010, 0.011], [])


def test_what_is_no_inference_is_not_slowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Health, metrics and metadata, all by GET, answer as they always do."""
    assert reply_times_s(monkeypatch, 0.2, method="GET") == ([0.010, 0.011], [])
