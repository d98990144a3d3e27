"""What FastAPI's server and TorchServe's handler both say on their pages for Prometheus (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import inf, isinf

from prometheus_client.parser import text_string_to_metric_families

_LABELS = ("model", "model_name")
"""What the two call the model's name."""


def by_bound(text: str, histogram: str, model: str) -> Mapping[str, float] | None:
    """Return how often a model's values lay up to each bound, and above the one before it.

    Empty when the page keeps the histogram, but not for this model yet; None when it does not keep it.
    Raises ``ValueError`` for a text that is no such page.
    """
    families = [one for one in text_string_to_metric_families(text) if one.name == histogram]
    up_to = {
        float(sample.labels["le"]): sample.value
        for family in families
        for sample in family.samples
        if sample.name == f"{histogram}_bucket" and model in map(sample.labels.get, _LABELS)
    }
    bounds = sorted(up_to)
    counts = [up_to[above] - up_to.get(below, 0.0) for below, above in pairwise([-inf, *bounds])]
    return dict(zip(map(_word, bounds), counts, strict=True)) if families else None


def _word(bound: float) -> str:
    return "+Inf" if isinf(bound) else f"{bound:g}"
