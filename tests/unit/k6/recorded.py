"""What the real k6 1.1.0 wrote of one load, with every outcome in it.

``constant:20`` with 1 in flight for 1.2 s, of which 0.2 s warm-up, time-out 250 ms, against a
`ScriptedServer` that in turn answers well after 20 ms, without predictions, 500, resets, is
silent, answers well, cuts its answer short, 302 and 404. It saw 15 requests; 10 arrivals were dropped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_servebench.k6.output import K6Output

_HERE = Path(__file__).parent
CSV = (_HERE / "recorded.csv").read_bytes()
CONSOLE = (_HERE / "recorded_console.txt").read_text(encoding="utf-8")
START_NS = (json.loads(CONSOLE.splitlines()[0])["start_ms"] + 1) * 1_000_000
SEEN_BY_THE_SERVER = 15


def summary() -> dict[str, Any]:
    """Return k6's own summary of that load."""
    found: dict[str, Any] = json.loads((_HERE / "recorded_summary.json").read_text(encoding="utf-8"))
    return found


def recorded(csv: bytes = CSV) -> K6Output:
    """Return what was read of it."""
    output = K6Output()
    output.feed(csv)
    return output
