"""CUDA graphs of the ONNX engine, on a recorded onnxruntime: which sizes have one, and what without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from engine import load_engine

from tests.recorded_onnxruntime import (
    CLASSES,
    SIDE,
    images,
    recorded,
)

CUDA = "CUDAExecutionProvider"


def test_a_graph_for_each_size_on_buffers_of_its_own(
    monkeypatch: pytest.MonkeyPatch, model_path: Path
) -> None:
    """The size is the graph's id, never 0, which is onnxruntime's; other sizes run without a graph."""
    module = recorded(monkeypatch, CUDA)
    engine = load_engine(model_path, device="cuda:1", cuda_graphs="on", max_batch_size=6)
    assert engine.graph_sizes == (1, 2, 4, 6)
    ((_, asked), _) = module.sessions[0].asked
    assert asked["enable_cuda_graph"] == 1
    for size in (2, 3, 2, 6):
        assert len(engine.run(images(size))) == size
    runs = module.sessions[0].runs
    assert [options for _, options in runs] == [{"gpu_graph_id": each} for each in ("2", "-1", "2", "6")]
    assert runs[0][0] is runs[2][0]
    ((_, value),) = runs[0][0].inputs
    assert (value.shape, value.device, value.index) == ([2, 3, SIDE, SIDE], "cuda", 1)
    ((_, output),) = runs[0][0].outputs
    assert (output.shape, output.device) == ([2, CLASSES], "cuda")
    assert engine.facts()["options"]["cuda_graphs"] == "1,2,4,6"


@pytest.mark.parametrize(
    ("asked", "most", "sizes"),
    [("auto", 1, (1,)), ("auto", 8, ()), ("off", 1, ()), ("on", 8, (1, 2, 4, 8)), ("on", 1, (1,))],
)
def test_which_sizes_have_a_graph(
    monkeypatch: pytest.MonkeyPatch, model_path: Path, asked: str, most: int, sizes: tuple[int, ...]
) -> None:
    """Left to itself only a server of single images captures: with dynamic batching sizes are many."""
    recorded(monkeypatch, CUDA)
    assert load_engine(model_path, device="cuda", cuda_graphs=asked, max_batch_size=most).graph_sizes == sizes
    recorded(monkeypatch)
    assert load_engine(model_path, cuda_graphs=asked, max_batch_size=most).graph_sizes == ()


def test_graphs_that_cannot_be_are_gone_without_only_where_nobody_asked(
    monkeypatch: pytest.MonkeyPatch, model_path: Path
) -> None:
    """A model with a node on the CPU has no graph: a choice of ours gives way, the operator's does not."""
    module = recorded(monkeypatch, CUDA)
    module.refuses = "enable_cuda_graph"
    engine = load_engine(model_path, device="cuda", max_batch_size=1, cuda_graphs="auto")
    assert engine.graph_sizes == ()
    assert len(module.sessions) == 1
    assert engine.facts()["options"]["cuda_graphs"] == "off"
    with pytest.raises(RuntimeError, match="enable_cuda_graph: this session cannot"):
        load_engine(model_path, device="cuda", max_batch_size=1, cuda_graphs="on")


def test_what_is_no_fault_of_graphs_is_tried_once(
    monkeypatch: pytest.MonkeyPatch, model_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a graph the GPU would not be there either, and the log would name the wrong thing."""
    module = recorded(monkeypatch, CUDA)
    module.refuses = "device_id"
    with pytest.raises(RuntimeError, match="device_id: this session cannot"):
        load_engine(model_path, device="cuda", max_batch_size=1, cuda_graphs="auto")
    assert caplog.messages == []


def test_a_graph_that_fails_to_be_captured_is_gone_without_only_where_nobody_asked(
    monkeypatch: pytest.MonkeyPatch, model_path: Path
) -> None:
    """A session that takes the option may still fail at a size's first run: the server starts without."""
    module = recorded(monkeypatch, CUDA)
    module.uncapturable = "CUDA failure 900: operation not permitted when stream is capturing"
    engine = load_engine(model_path, device="cuda", max_batch_size=1, cuda_graphs="auto")
    assert engine.run(images(1)).tolist() == [[3] * CLASSES]
    first, second = module.sessions
    assert "enable_cuda_graph" in first.provider_options[CUDA]
    assert "enable_cuda_graph" not in second.provider_options[CUDA]
    assert (engine.graph_sizes, engine.facts()["options"]["cuda_graphs"]) == ((), "off")
    asked = load_engine(model_path, device="cuda", max_batch_size=2, cuda_graphs="on")
    with pytest.raises(RuntimeError, match=r"graph of 2 image.*CUDA failure 900.*CUDA_GRAPHS=off does"):
        asked.run(images(2))


def test_a_graph_writes_its_output_in_the_type_that_the_model_has(
    monkeypatch: pytest.MonkeyPatch, model_path: Path
) -> None:
    """A buffer of another type or of unknown size is refused by onnxruntime, or filled with other numbers."""
    module = recorded(monkeypatch, CUDA)
    module.output = ("tensor(float16)", ["n", CLASSES])
    engine = load_engine(model_path, device="cuda", max_batch_size=1, cuda_graphs="on")
    assert engine.run(images(1)).dtype == np.float32
    ((_, buffer),) = module.sessions[0].runs[0][0].outputs
    assert buffer.dtype is np.float16
    module.output = ("tensor(float)", ["n", "classes"])
    unknown = load_engine(model_path, device="cuda", max_batch_size=1, cuda_graphs="on")
    with pytest.raises(
        RuntimeError, match=r"output is tensor\(float\) \['n', 'classes'\], for which no buff"
    ):
        unknown.run(images(1))
