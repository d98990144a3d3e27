"""What each of several workers sends of one load; all shares together are the load (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from pytest_servebench.arrivals import Listed, Replay, Share
from pytest_servebench.load.arrivals import schedule
from pytest_servebench.plan import Load

Item = TypeVar("Item")


def shares_of(load: Load) -> tuple[Load, ...]:
    """Return the load of each worker, in the order of ``load.workers``, as many as there is work for.

    Closed loop: the requests in flight are spread as evenly as possible. Open loop: of n workers,
    number k takes the arrivals k, k + n, k + 2n ... of the same schedule, and its part of the room
    in flight. A trace is read here, where its file is; raises `LoadError` when it cannot be.
    """
    count = workers_for(load)
    alone = replace(load, workers=())
    if load.arrivals is None:
        return tuple(replace(alone, concurrency=part) for part in parts_of(load.concurrency, count))
    whole = load.arrivals
    assert not isinstance(whole, Share)
    if isinstance(whole, Replay):
        whole = Listed(tuple(int(ns) for chunk in schedule(whole, load.seed) for ns in chunk))
    return tuple(
        replace(alone, arrivals=Share(whole, first, count), max_in_flight=room)
        for first, room in enumerate(parts_of(load.max_in_flight, count))
    )


def workers_for(load: Load) -> int:
    """Return how many of the load's workers have something to do: no more than requests in flight."""
    most = load.concurrency if load.arrivals is None else load.max_in_flight
    return max(1, min(len(load.workers), most))


def parts_of(total: int, count: int) -> tuple[int, ...]:
    """Return ``total`` in ``count`` parts that differ by one at most, the larger ones first."""
    return tuple(total // count + (number < total % count) for number in range(count))


def first_request(worker: int, workers: int, requests: int) -> int:
    """Return with which of the encoded requests a worker begins, so that not all send the same one."""
    return worker * requests // workers % requests


def rotated(items: Sequence[Item], first: int) -> tuple[Item, ...]:
    """Return ``items`` beginning with number ``first``."""
    return (*items[first:], *items[:first])


def names_of(specs: Sequence[str]) -> tuple[str, ...]:
    """Return a name for each worker that tells its number and where it runs."""
    return tuple(f"{number}:{spec}" for number, spec in enumerate(specs, start=1))
