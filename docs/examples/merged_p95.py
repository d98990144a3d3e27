"""Percentiles of several saved runs of one case together: python merged_p95.py SAVED.json SAVED.json ..."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from hdrh.histogram import HdrHistogram


def merged(paths: Sequence[str]) -> HdrHistogram:
    """Return the response times, in nanoseconds, of every record in the files."""
    histograms = [
        HdrHistogram.decode(record["histogram"]["response_time_ns"])
        for path in paths
        for record in json.loads(Path(path).read_text(encoding="utf-8"))["servebench"]["records"]
        if record["publishable"]
    ]
    for other in histograms[1:]:
        histograms[0].add(other)
    return histograms[0]


if __name__ == "__main__":
    together = merged(sys.argv[1:])
    sys.stdout.write(f"requests: {together.get_total_count()}\n")
    sys.stdout.write(f"p95: {together.get_value_at_percentile(95) / 1e6:.2f} ms\n")
