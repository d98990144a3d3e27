"""Serving efficiency: images/s served, as a share of what the same model does in process (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_servebench.results import CaseResult, Validity


@dataclass(frozen=True, slots=True)
class Efficiency:
    """The share, or why there is none."""

    share: float | None
    """May exceed 1: a server may form batches that suit the machine better, or copy while it computes."""
    absent: str = ""


def efficiency_of(result: CaseResult) -> Efficiency:
    """Return how much of the model's own speed is served: of a load that asks for all a server can do."""
    raw_per_s = result.raw.images_per_s
    served_per_s = None if result.summary is None else result.summary.images_per_s
    if result.case.load.arrivals is not None and result.case.objective is None:
        return Efficiency(None, "the rate of requests was chosen: the server was not asked for all it can do")
    if result.validity is not Validity.VALID or served_per_s is None:
        return Efficiency(None, f"the run is {result.validity}")
    if not raw_per_s:
        return Efficiency(None, result.raw.absent or "the model in process computed nothing")
    return Efficiency(served_per_s / raw_per_s)
