"""How results travel from a worker: as the plain types that execnet knows, and back, unchanged (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeAlias, TypeVar

import numpy as np

from pytest_servebench.samples import Folded, Reply, Samples, Slice, Tally
from pytest_servebench.statistics.histogram import Histogram

Plain: TypeAlias = Any
"""None, numbers, text, bytes, and tuples, lists and dicts of them."""
Counted = TypeVar("Counted", Slice, Tally, Folded)

_COLUMNS = {
    "intended_ns": "<i8",
    "sent_ns": "<i8",
    "received_ns": "<i8",
    "outcome": "<u1",
    "request_index": "<i4",
}
_SIMPLE = ("window_ns", "started_ns", "settled", "client_cpu_s", "first_error")


def told_samples(samples: Samples) -> dict[str, Plain]:
    """Return samples as they travel."""
    columns = {name: getattr(samples, name).astype(code).tobytes() for name, code in _COLUMNS.items()}
    return {
        **columns,
        **{name: getattr(samples, name) for name in _SIMPLE},
        "replies": [(at, one.status, dict(one.headers), one.body) for at, one in samples.replies.items()],
        "slices": [told(one) for one in samples.slices],
        "folded": told(samples.folded),
    }


def heard_samples(said: Mapping[str, Plain]) -> Samples:
    """Return the samples that were told."""
    columns: dict[str, Any] = {
        name: np.frombuffer(said[name], dtype=code).astype(np.dtype(code).newbyteorder("="))
        for name, code in _COLUMNS.items()
    }
    simple: dict[str, Any] = {name: said[name] for name in _SIMPLE}
    return Samples(
        **columns,
        **simple,
        replies={at: Reply(status, headers, body) for at, status, headers, body in said["replies"]},
        slices=tuple(as_heard(Slice, one) for one in said["slices"]),
        folded=None if said["folded"] is None else as_heard(Folded, said["folded"]),
    )


def told(value: object) -> Plain:
    """Return a slice, a tally or what was folded as it travels: the histograms in it as two arrays."""
    if isinstance(value, Histogram):
        arrays = (value.buckets.astype("<i8").tobytes(), value.counts.astype("<i8").tobytes())
        return (*arrays, value.count, value.sum_ns, value.min_ns, value.max_ns)
    if isinstance(value, (Slice, Tally, Folded)):
        return {each.name: told(getattr(value, each.name)) for each in fields(value)}
    return [told(one) for one in value] if isinstance(value, tuple) else value


def as_heard(kind: type[Counted], said: Mapping[str, Plain]) -> Counted:
    """Return what was told, of this kind."""
    return kind(**{name: _heard_field(kind, name, value) for name, value in said.items()})


def _heard_field(kind: type[Counted], name: str, said: Plain) -> Any:  # noqa: ANN401 (any field's type)
    if kind is Folded and name == "inside":
        return as_heard(Tally, said)
    if kind is Folded and name == "stages":
        return tuple(as_heard(Tally, one) for one in said)
    if isinstance(said, (tuple, list)):
        return _heard_histogram(*said) if name != "outcomes" else tuple(said)
    return said


def _heard_histogram(buckets: bytes, counts: bytes, *rest: Plain) -> Histogram:
    held, how_often = (np.frombuffer(one, dtype="<i8").astype(np.int64) for one in (buckets, counts))
    return Histogram(held, how_often, *rest)
