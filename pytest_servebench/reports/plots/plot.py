"""What a plot of the page is: a question, a Vega-Lite specification that answers it, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One plot of ``report.html``."""

    name: str
    """Its anchor on the page: ``response-times``."""
    title: str
    """What it shows, with the unit: ``Response time, ms``."""
    reading: str
    """How to read it and what its bars and bands are, in a sentence or two."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Vega-Lite 6, its data inside it, its colours CSS variables; empty where ``absent`` says why."""
    description: str = ""
    """What is to be seen in it, for whoever does not see it."""
    absent: str = ""
    """Why it cannot be drawn from these runs; empty: it can."""
