"""Samples told as rows of milliseconds, for tests of statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pytest_servebench.results import Summary
from pytest_servebench.samples import Outcome, Samples
from pytest_servebench.statistics.summary import summarise

MS = 1_000_000
WINDOW = (1_000 * MS, 2_000 * MS)
Row = tuple[int, int, int, Outcome]
"""Intended, sent and received in milliseconds (-1: did not happen), and the outcome."""


def samples_of(rows: Sequence[Row], **rest: Any) -> Samples:
    """Return samples with these rows in a window from 1,000 to 2,000 ms."""
    instants = np.array([row[:3] for row in rows], dtype=np.int64).reshape(-1, 3)
    instants[instants >= 0] *= MS
    return Samples(
        intended_ns=instants[:, 0],
        sent_ns=instants[:, 1],
        received_ns=instants[:, 2],
        outcome=np.array([row[3] for row in rows], dtype=np.uint8),
        request_index=np.zeros(len(rows), dtype=np.int32),
        window_ns=WINDOW,
        **rest,
    )


def ok(*ended_ms: int, took_ms: int = 10) -> list[Row]:
    """Return correct replies that ended at these milliseconds."""
    return [(end - took_ms, end - took_ms, end, Outcome.OK) for end in ended_ms]


def summary_of(rows: Sequence[Row], items: int = 1, **rest: Any) -> Summary:
    """Return the summary of these rows."""
    return summarise(samples_of(rows, **rest), items_per_request=items, timeout_s=0.5)
