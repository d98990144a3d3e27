"""Records made whole: what a trimmed or edited one lacks is null, so that every part may ask (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

from pytest_servebench.comparison.replicates import Record
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.plan import Deployment
from pytest_servebench.printable import printable, printable_text
from pytest_servebench.results import REFUSED, Telemetry, Validity

NOT_KEPT = "it is not in the saved run: a baseline keeps only what is compared"
LACKS = "not_in_the_saved_run"
"""Field of a whole record that names those that were added to it."""
_UNKNOWN = "unknown"
_LISTS = ("gpu_other_pids", "warnings")
_NEVER_NULL = (*_LISTS, "gpus")
_CASE: Mapping[str, Any] = MappingProxyType(
    {
        "id": _UNKNOWN,
        **{each.name: None for each in fields(Deployment)},
        **dict.fromkeys(("stack", "model", "format", "payload", "protocol", "device"), _UNKNOWN),
        "max_batch_size": 1,
        "items_per_request": 1,
        "images": _UNKNOWN,
        "objective": None,
        "repeat": None,
    }
)
_OBJECTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "case": _CASE,
        "load": {},
        "served": {
            **dict.fromkeys(("engine", "provider", "device", "one_of", "precision")),
            "nodes": {},
            "options": {},
            "warnings": [],
            "absent": NOT_KEPT,
        },
        "response_time_ms": dict.fromkeys(("p50", "p95", "p99", "mean", "min", "max")),
        "service_time_ms": dict.fromkeys(("p50", "p95", "p99")),
        "send_lag_ms": dict.fromkeys(("p50", "p99")),
        "counts": dict.fromkeys(("correct", "wrong", "errors", "timeouts", "dropped")),
        "figures": dict.fromkeys(
            (
                *("latency_p50", "latency_p95", "throughput_rps", "gpu_utilization", "memory_usage_gb"),
                "avg_batch_size",
            )
        ),
        "verification": {"before": None, "during": None},
        "machine": {},
        "settings": {},
    }
)
"""Fields that are objects, with what is asked of each."""
_NULL = (
    *("worker", "artifact_sha256", "monitoring", "model", "weights", "backend", "launcher", "device"),
    *("container", "cold_start_s", "lane", "cpu_set", "waited_s", "verdict", "window_s", "warmup_s"),
    *("settled", "response_time_p95_ci_ms", "offered_per_s", "achieved_per_s", "throughput_per_s"),
    *("throughput_ci_per_s", "images_per_s", "images_per_s_per_gpu", "client_cpu_share", "ceiling_per_s"),
    *("samples", "histogram"),
    *("within_run", "timeline", "raw", "serving_efficiency", "scaling", "k6", "capacity", "repeat"),
)
_ELSE: Mapping[str, Any] = MappingProxyType(
    {
        "test": "",
        "benchmark": "",
        "measurement": 1,
        "reason": "",
        "repeats": 1,
        "restarted": True,
        "quick": False,
        "client_cpu_shares": {},
        "stages": [],
        "workers": [],
        "first_error": "",
        "ceiling_absent": NOT_KEPT,
        "serving_efficiency_absent": NOT_KEPT,
    }
)


def whole(run: SavedRun) -> SavedRun:
    """Return the run with every field of docs/record.md in each of its records, its texts printable."""
    return replace(
        run,
        name=printable_text(run.name),
        records=tuple(whole_record(printable(record)) for record in run.records),
        facts=tuple(printable(fact) for fact in run.facts),
    )


def whole_record(record: Record) -> dict[str, Any]:
    """Return the record with what it lacks: null, or empty, and telemetry with the reason in ``absent``."""
    validity = str(record.get("validity") or Validity.UNDECIDED)
    known = validity if validity in set(Validity) else str(Validity.UNDECIDED)
    return {
        **dict.fromkeys(_NULL),
        **_ELSE,
        "publishable": known not in REFUSED,
        **{key: value for key, value in record.items() if value is not None or key not in _ELSE},
        **{key: {**empty, **_told(record.get(key), empty)} for key, empty in _OBJECTS.items()},
        "validity": known,
        "telemetry": _telemetry(_object(record.get("telemetry"))),
        LACKS: [name for name in (*_NULL, *_OBJECTS) if name not in record],
    }


def _telemetry(kept: Mapping[str, Any]) -> dict[str, Any]:
    names = [each.name for each in fields(Telemetry) if each.name not in ("absent", "gpus", *_LISTS)]
    missing = {name: NOT_KEPT for name in names if name not in kept}
    return {
        **dict.fromkeys(names),
        **{name: [] for name in _LISTS},
        "gpus": {},
        **{name: told for name, told in kept.items() if told is not None or name not in _NEVER_NULL},
        "absent": {**missing, **_object(kept.get("absent"))},
    }


def _told(value: object, empty: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an object says; null says nothing, where something else stands for what is not known."""
    return {key: told for key, told in _object(value).items() if told is not None or empty.get(key) is None}


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
