"""What k6 writes of every request (``--out csv``), read as it comes.

k6's own definitions (grafana.com/docs/k6, "Built-in metrics"): a point of ``http_req_duration`` is
stamped when the whole reply was read, or the request failed; its value is sending + waiting +
receiving in milliseconds, without resolving, waiting for a connection, and connecting. Stamps are
calendar time in nanoseconds (``K6_CSV_TIME_FORMAT=unix_nano``). ``vu`` and ``iter`` in the column
``metadata`` name the iteration that a point belongs to.
"""

from __future__ import annotations

import csv
from array import array
from dataclasses import dataclass, field

from pytest_servebench.errors import LoadError

PREDICTIONS = "has predictions"
"""The check of staged_load.js that makes an answer a wrong one."""
OK_STATUS = 200
TIMED_OUT = 1050
"""k6's error code; see grafana.com/docs/k6, "Error codes"."""
HTTP_ERRORS = range(1400, 1600)
_VU_SHIFT = 40
_DURATION, _CHECKS, _DROPPED = b"http_req_duration,", b"checks,", b"dropped_iterations,"
_FAILED = b",0.000000,"
_COLUMNS = ("timestamp", "metric_value", "check", "error", "error_code", "name", "status", "metadata")


def key_of(vu: int, iteration: int) -> int:
    """Return one number for one iteration of one virtual user."""
    return vu << _VU_SHIFT | iteration


@dataclass(slots=True)
class K6Output:
    """Every request so far in the order of its end, in arrays of equal length; and what was dropped."""

    ended_ns: array[int] = field(default_factory=lambda: array("q"))
    """Calendar time."""
    duration_ns: array[int] = field(default_factory=lambda: array("q"))
    key: array[int] = field(default_factory=lambda: array("q"))
    request_index: array[int] = field(default_factory=lambda: array("i"))
    status: array[int] = field(default_factory=lambda: array("i"))
    """0 without a reply."""
    error_code: array[int] = field(default_factory=lambda: array("i"))
    dropped_ns: array[int] = field(default_factory=lambda: array("q"))
    """When each arrival was dropped, calendar time."""
    no_predictions: set[int] = field(default_factory=set)
    """Keys of iterations that ended without, those that ended without a reply too."""
    correct: int = 0
    broken: int = 0
    """Requests without a complete reply, time-outs aside."""
    first_error: str = ""
    _places: dict[str, int] = field(default_factory=dict)
    _rest: bytes = b""

    def __len__(self) -> int:
        return len(self.ended_ns)

    def feed(self, data: bytes) -> None:
        """Take what has come; a line that is not whole waits for its rest. Raises `LoadError`."""
        *lines, rest = (self._rest + data).split(b"\n")
        begun = b""
        for part in lines:
            line = begun + part
            if line.count(b'"') % 2:  # an error's text goes on in the next line
                begun = line + b"\n"
                continue
            begun = b""
            try:
                self._line(line)
            except (ValueError, KeyError, IndexError) as error:
                raise LoadError(
                    "k6 writes something else than expected.",
                    where="its --out csv",
                    seen=f"{line[:200]!r} ({type(error).__name__}: {error})",
                    next_step="use another version of k6: 1.1 is known to work",
                ) from error
        self._rest = begun + rest

    def _line(self, line: bytes) -> None:
        if line.startswith(_DURATION):
            self._request(self._fields(line))
        elif line.startswith(_CHECKS) and _FAILED in line:
            fields = self._fields(line)
            if fields["check"] == PREDICTIONS:
                self.no_predictions.add(_key(fields["metadata"]))
        elif line.startswith(_DROPPED):
            fields = self._fields(line)
            self.dropped_ns.extend([int(fields["timestamp"])] * int(float(fields["metric_value"])))
        elif not self._places and line:
            names = line.decode().split(",")
            self._places = {name: names.index(name) for name in _COLUMNS}

    def _fields(self, line: bytes) -> dict[str, str]:
        text = line.decode()
        # Only an error's text is ever quoted.
        values = next(csv.reader([text])) if '"' in text else text.split(",")
        return {name: values[place] for name, place in self._places.items()}

    def _request(self, fields: dict[str, str]) -> None:
        status, code = int(fields["status"] or 0), int(fields["error_code"] or 0)
        self.ended_ns.append(int(fields["timestamp"]))
        self.duration_ns.append(round(float(fields["metric_value"]) * 1e6))
        self.key.append(_key(fields["metadata"]))
        self.request_index.append(int(fields["name"]))
        self.status.append(status)
        self.error_code.append(code)
        if code == 0 and status == OK_STATUS:
            self.correct += 1
            return
        self.broken += code not in (0, TIMED_OUT) and code not in HTTP_ERRORS
        self.first_error = self.first_error or _words(status, code, fields["error"])


def _key(metadata: str) -> int:
    """Return the key in ``vu=1&iter=2``, in either order."""
    parts = dict(part.split("=") for part in metadata.split("&"))
    return key_of(int(parts["vu"]), int(parts["iter"]))


def _words(status: int, code: int, error: str) -> str:
    return " ".join(
        [f"HTTP {status}" if status else error or "no reply", f"(k6 error {code})" if code else ""]
    ).strip()
