"""The conductor and what reads beside a load."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

from pytest_servebench.readings import Readings
from pytest_servebench.results import Telemetry
from pytest_servebench.runner import run_case
from tests.echo_house import EchoHouse, Onlooker, case


def test_what_reads_beside_a_load_is_told_how_far_it_is() -> None:
    """As often as who watches, and of the same."""
    house, watch, told = EchoHouse(), Onlooker(), Onlooker()
    readings = Readings(progress=told.progress, over=lambda _: Telemetry(queue_time_ms=2.5))
    rooms = replace(house.rooms, telemetry=lambda *_: nullcontext(readings))
    result = run_case(case(), rooms, house.pool, watch)
    assert watch.seen
    assert told.seen == watch.seen
    assert result.telemetry.queue_time_ms == 2.5
