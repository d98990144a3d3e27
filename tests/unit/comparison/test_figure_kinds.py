"""A figure that was read of something else, or otherwise, is compared with nothing."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_servebench.comparison.changes import ChangeLimit, Doubt
from pytest_servebench.comparison.regression import changes_of
from tests.compared import repeated, words

BEFORE = [41.0, 41.4, 41.2, 41.1, 41.3]


def on_gpu(source: str) -> dict[str, Any]:
    """Return what was read of a GPU, its energy by this source."""
    return {"gpu_memory_bytes": 2 * 10**9, "gpu_energy_source": source, "joules_per_image": 1.5}


@pytest.mark.parametrize(
    ("figure", "before", "now", "reason"),
    [
        (
            "memory",
            on_gpu("counter"),
            {"server_memory_kind": "pss"},
            "memory was of the GPU, is pss of the server",
        ),
        (
            "memory",
            {"server_memory_kind": "pss"},
            {"server_memory_kind": "rss"},
            "memory was pss of the server, is rss of the server",
        ),
        ("memory", {"server_memory_kind": "pss"}, {}, ""),
        ("energy", on_gpu("counter"), on_gpu("power"), "energy was by counter, is by power"),
        ("energy", on_gpu("power"), on_gpu("power"), ""),
    ],
)
def test_a_figure_of_something_else_is_not_compared(
    figure: str, before: dict[str, Any], now: dict[str, Any], reason: str
) -> None:
    """Where the driver did not answer, memory is the server's own: less, and no improvement."""
    sides = [
        repeated(BEFORE, figure, telemetry={**telemetry, **_energy(figure, 41.0)})
        for telemetry in (before, now)
    ]
    limits = [ChangeLimit(figure=figure, share=0.05)]
    (change,) = changes_of(*sides, limits=limits)
    assert (str(change.verdict), change.reason) == ("inconclusive" if reason else "pass", reason)
    assert change.doubt is (Doubt.DIFFERENT if reason else None)
    assert words(changes_of(*sides, limits=limits, allowed=frozenset({"all"}))) == ["pass"]


def _energy(figure: str, joules: float) -> dict[str, float]:
    return {"joules_per_image": joules} if figure == "energy" else {}


def test_replicates_of_which_one_read_something_else_are_not_compared() -> None:
    """A median over two things is the figure of none."""
    sides = [repeated(BEFORE, "memory", telemetry=on_gpu("counter")) for _ in range(2)]
    sides[1][2]["telemetry"] = {"server_memory_kind": "pss"}
    (change,) = changes_of(*sides, limits=[ChangeLimit(figure="memory", share=0.05)])
    assert change.doubt is Doubt.DIFFERENT
    assert change.reason == "memory was of the GPU, is of the GPU or pss of the server"
