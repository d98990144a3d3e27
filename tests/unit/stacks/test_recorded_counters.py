"""What each stack reads of the pages that the real servers gave."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_servebench.interfaces import ServerCounters, Stack
from pytest_servebench.plan import Deployment, ModelFormat
from pytest_servebench.samples import Reply
from pytest_servebench.stacks.exposition import by_bound
from pytest_servebench.stacks.fastapi import Fastapi
from pytest_servebench.stacks.torchserve import Torchserve
from pytest_servebench.stacks.triton import Triton
from tests.doc_blocks import ROOT

PAGES = ROOT / "tests" / "expositions"


def read(stack: Stack, page: str, model: str = "tiny") -> ServerCounters:
    """Return the counters that ``stack`` finds in a recorded page."""
    served = Deployment(stack=stack.name, model=model, format=ModelFormat.ONNX)
    return stack.counters(served, Reply(200, {}, Path(PAGES / page).read_bytes()))


def test_fastapi() -> None:
    """40 requests in 26 executions, 20 of them of one image; no parts of the compute time, no handler."""
    counters = read(Fastapi(), "fastapi.txt")
    assert (counters.images, counters.executions, counters.requests) == (40, 26, 40)
    assert counters.queue_s == pytest.approx(0.120778744)
    assert counters.compute_s == pytest.approx(0.209617769)
    by_batch = counters.executions_by_batch
    assert by_batch is not None
    assert list(by_batch) == ["1", "2", "4", "8", "16", "32", "64", "128", "+Inf"]
    assert list(by_batch.values()) == [20, 2, 2, 2, 0, 0, 0, 0, 0]
    assert (counters.compute_infer_s, counters.handler_s) == (None, None)


def test_triton() -> None:
    """All parts of the compute time, and executions by their exact number of images."""
    counters = read(Triton(), "triton_statistics.json")
    parts = (counters.compute_input_s, counters.compute_infer_s, counters.compute_output_s)
    assert None not in parts
    assert counters.compute_s == pytest.approx(sum(part or 0.0 for part in parts))
    by_batch = counters.executions_by_batch
    assert by_batch is not None
    assert sum(by_batch.values()) == counters.executions
    assert sum(int(size) * count for size, count in by_batch.items()) == counters.images
    assert counters.handler_s is None


def test_torchserve() -> None:
    """13 batches of 40 images, and the handler's time for each; histograms under the server's own bounds."""
    counters = read(Torchserve(), "torchserve.txt")
    assert (counters.images, counters.executions, counters.requests) == (40, 13, 41)
    assert counters.queue_s == pytest.approx(1.806180217)
    assert counters.handler_s == pytest.approx(0.195233)
    assert counters.handler_calls == 13
    by_batch = counters.executions_by_batch
    assert by_batch is not None
    assert {size: count for size, count in by_batch.items() if count} == {"1": 6, "2.5": 3, "5": 1, "10": 3}
    assert counters.compute_infer_s is None


@pytest.mark.parametrize("page", ["fastapi.txt", "torchserve.txt"])
def test_a_histogram_of_others_is_not_ours(page: str) -> None:
    """Kept, but not for this model yet: no execution. Not kept: not reported."""
    text = (PAGES / page).read_text(encoding="utf-8")
    assert by_bound(text, "batch_size_distribution", "somebody's") == {}
    assert by_bound(text, "no_such_histogram", "tiny_onnx") is None
