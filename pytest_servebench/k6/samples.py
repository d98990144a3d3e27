"""What k6 wrote, as the samples that our own sender would have left (pure)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import LoadError
from pytest_servebench.k6.output import HTTP_ERRORS, OK_STATUS, TIMED_OUT, K6Output, key_of
from pytest_servebench.samples import Outcome, Reply

NEVER = -1
NOBODY = -1
"""The request of an arrival that was dropped: k6 does not choose one."""


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What the script told on its console."""

    start_ns: int
    """When the scenario began, calendar time rounded up to a millisecond; `NEVER` without a request."""
    replies: Mapping[int, Reply]
    """Kept replies by the key of their iteration."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The arrays of `samples.Samples`, and where each iteration's row is."""

    sent_ns: npt.NDArray[np.int64]
    """Where nothing was sent, -1."""
    begun_ns: npt.NDArray[np.int64]
    """When it was sent or, if it never was, dropped."""
    received_ns: npt.NDArray[np.int64]
    outcome: npt.NDArray[np.uint8]
    request_index: npt.NDArray[np.int32]
    key: npt.NDArray[np.int64]
    """Of the iteration; -1 for an arrival that was dropped."""


def told_of(console: str) -> Told:
    """Return what is in the lines of JSON that the script wrote; raises `LoadError`."""
    try:
        lines = [json.loads(line) for line in console.splitlines()]
        starts = [(int(line["start_ms"]) + 1) * 1_000_000 for line in lines if line.get("start_ms")]
        kept = {key_of(line["vu"], line["iter"]): _reply(line) for line in lines if line.get("vu")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LoadError(
            "The script that k6 runs tells something else than it should.",
            where="its console",
            seen=f"{console[:200]} ({type(error).__name__}: {error})",
            next_step="reinstall pytest-servebench: its benchmarks/k6/staged_load.js was changed",
        ) from error
    return Told(starts[0] if starts else NEVER, kept)


def columns_of(output: K6Output, offset_ns: int) -> Columns:
    """Return every request and every dropped arrival in order of sending (dropped: of dropping).

    ``offset_ns`` is calendar time - CLOCK_MONOTONIC. A request is received where its reply was
    read or its failure known, and sent ``http_req_duration`` before.
    """
    ended = _int64(output.ended_ns) - offset_ns
    dropped = _int64(output.dropped_ns) - offset_ns
    nothing = np.full(len(dropped), NEVER, dtype=np.int64)
    sent = ended - _int64(output.duration_ns)
    begun = np.concatenate([sent, dropped])
    order = np.argsort(begun, kind="stable")

    def joined(requests: npt.NDArray[Any], never: npt.NDArray[Any]) -> npt.NDArray[Any]:
        both: npt.NDArray[Any] = np.concatenate([requests, never])
        return both[order]

    return Columns(
        sent_ns=joined(sent, nothing),
        begun_ns=begun[order],
        received_ns=joined(ended, nothing),
        outcome=joined(_outcomes(output), np.full(len(dropped), Outcome.DROPPED)).astype(np.uint8),
        request_index=joined(np.array(output.request_index), np.full(len(dropped), NOBODY)).astype(np.int32),
        key=joined(_int64(output.key), nothing),
    )


def kept_replies(told: Told, columns: Columns, window_ns: tuple[int, int]) -> dict[int, Reply]:
    """Return the kept replies of correct requests that ended in the window, by position."""
    begin, end = window_ns
    counted = (columns.outcome == Outcome.OK) & (begin < columns.received_ns) & (columns.received_ns <= end)
    wanted = np.isin(columns.key, np.fromiter(told.replies, dtype=np.int64, count=len(told.replies)))
    return {int(at): told.replies[int(columns.key[at])] for at in np.flatnonzero(counted & wanted)}


def _outcomes(output: K6Output) -> npt.NDArray[np.uint8]:
    """Return how each request ended; a reply of status 200 without predictions is a wrong one."""
    status, code = np.array(output.status), np.array(output.error_code)
    wrong = np.isin(_int64(output.key), np.fromiter(output.no_predictions, dtype=np.int64))
    whole = (code == 0) & (status == OK_STATUS)
    refused = np.isin(code, HTTP_ERRORS) | ((code == 0) & (status != OK_STATUS))
    return np.select(
        [whole & wrong, whole, code == TIMED_OUT, refused],
        [Outcome.WRONG, Outcome.OK, Outcome.TIMEOUT, Outcome.HTTP_ERROR],
        Outcome.TRANSPORT_ERROR,
    ).astype(np.uint8)


def _int64(values: object) -> npt.NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def _reply(told: Mapping[str, Any]) -> Reply:
    headers = {name.lower(): str(value) for name, value in told["headers"].items()}
    return Reply(int(told["status"]), headers, base64.b64decode(told["body"], validate=True))
