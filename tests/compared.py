"""Records of runs with the figures that comparisons read, for tests of comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pytest_servebench.comparison.changes import Change
from pytest_servebench.comparison.figures import FIGURES

CASE = "fastapi-onnx-tensor-http-b8-i1-c1"


def measured(
    figures: dict[str, float | None], *, repeat: int | None = None, case: str = CASE, **rest: Any
) -> dict[str, Any]:
    """Return a valid record with these figures, by their words; ``rest`` are fields of its own."""
    case_id = case if repeat is None else f"{case}-r{repeat}"
    record: dict[str, Any] = {
        "case": {"id": case_id, "repeat": repeat, "model": "resnet50", "threads": 2},
        "test": f"benchmarks/test_latency.py::test_latency[{case_id}]",
        "load": {"concurrency": 1, "arrivals": "closed", "duration_s": 6.0, "seed": 0},
        "machine": {"cpu": "a CPU", "packages": {"onnxruntime": "1.20"}},
        "validity": "valid",
        "reason": "",
    }
    for name, value in figures.items():
        place = record
        *folders, key = FIGURES[name].path
        for folder in folders:
            place = place.setdefault(folder, {})
        place[key] = value
    return {**record, **rest}


def repeated(values: Sequence[float | None], figure: str = "p95", **rest: Any) -> list[dict[str, Any]]:
    """Return replicates of one case, one for each value of one figure."""
    return [measured({figure: value}, repeat=number, **rest) for number, value in enumerate(values, 1)]


def words(changes: Iterable[Change]) -> list[str]:
    """Return the verdicts, an inconclusive one as its doubt."""
    return [str(change.doubt or change.verdict) for change in changes]
