"""What a record tells of who was busy while a case was measured: what a bottleneck is told from (pure).

Figures are those of the measured window; one that is missing is None. Over replicates they are medians.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import median
from types import MappingProxyType
from typing import Any

from pytest_servebench.arrivals import CLOSED
from pytest_servebench.comparison.replicates import Record
from pytest_servebench.plan import LauncherKind, Payload
from pytest_servebench.reports.numbers import number_of
from pytest_servebench.reports.split import Split, joined_splits, split_of

IMAGE_BYTES: Mapping[str, int] = MappingProxyType({Payload.TENSOR: 602_112, Payload.UINT8: 150_528})
"""What an image of [3, 224, 224] has on the wire, by payload; encoded ones differ, shared ones have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that a bottleneck is told from."""

    validity: str
    reason: str
    stack: str
    payload: str
    device: str
    """``cpu`` or ``cuda``; empty: an attached server chose its own."""
    max_batch_size: int
    items_per_request: int
    in_flight: int | None
    """Requests that a closed loop keeps in flight; None: an open loop."""
    throughput_per_s: float | None
    ceiling_per_s: float | None
    """Requests per second that the same client sends to a server that does nothing."""
    client_cores: float | None
    server_cores: float | None
    other_cores: float | None
    cores: float | None
    """That server and client may use."""
    throttled_share: float | None
    """Share of periods in which a limit of CPU time held the server back."""
    gpu_percent: float | None
    """Share of time in which the GPU computed; None too where others computed on it."""
    batch_size_achieved: float | None
    serving_efficiency: float | None
    split: Split | str
    """Where a request's time went, or why that is not known."""

    @property
    def request_bytes(self) -> int | None:
        """The body of a request; None: not known from what was asked."""
        image_bytes = IMAGE_BYTES.get(self.payload)
        return None if image_bytes is None else image_bytes * self.items_per_request

    @property
    def free_cores(self) -> float | None:
        """Cores that neither client nor others used: what the server could have had."""
        if self.cores is None:
            return None
        return max(0.0, self.cores - (self.client_cores or 0.0) - (self.other_cores or 0.0))


def evidence_of(record: Record) -> Evidence:
    """Return what one record tells."""
    case, told = record["case"], record["telemetry"]
    return Evidence(
        validity=record["validity"],
        reason=record["reason"],
        **{name: str(case[name]) for name in ("stack", "payload")},
        device=_device(record),
        max_batch_size=case["max_batch_size"],
        items_per_request=case["items_per_request"],
        in_flight=_in_flight(record),
        throughput_per_s=number_of(record, "throughput_per_s"),
        ceiling_per_s=number_of(record, "ceiling_per_s"),
        client_cores=_client_cores(record),
        server_cores=number_of(told, "server_cpu_cores"),
        other_cores=number_of(told, "other_cpu_cores"),
        cores=number_of(record.get("machine"), "cores_usable"),
        throttled_share=number_of(told, "server_throttled_share"),
        gpu_percent=None if told.get("gpu_shared_with") else number_of(told, "gpu_utilization_percent"),
        batch_size_achieved=number_of(told, "batch_size_achieved"),
        serving_efficiency=number_of(record, "serving_efficiency"),
        split=split_of(record),
    )


def joined_evidence(replicates: Sequence[Evidence]) -> Evidence:
    """Return the medians of what replicates of one case tell; a figure that one of them lacks is missing."""
    figures: dict[str, Any] = {
        each.name: _median([getattr(one, each.name) for one in replicates])
        for each in fields(Evidence)
        if each.type == "float | None"
    }
    return replace(replicates[0], **figures, split=joined_splits([one.split for one in replicates]))


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if len(known) == len(values) else None


def _device(record: Record) -> str:
    kind = str(record["case"]["device"]).partition(":")[0]
    return "" if record.get("launcher") == LauncherKind.ATTACH and kind == "cpu" else kind


def _in_flight(record: Record) -> int | None:
    load = record["load"]
    closed = load.get("arrivals", CLOSED) == CLOSED and not record["case"].get("objective")
    return int(load.get("concurrency") or 0) if closed else None


def _client_cores(record: Record) -> float | None:
    """Return the cores that the client used: this machine's, all its processes together."""
    spent_s, window_s = number_of(record["telemetry"], "client_cpu_s"), number_of(record, "window_s")
    return None if spent_s is None or not window_s else spent_s / window_s
