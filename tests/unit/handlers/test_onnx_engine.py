"""What the ONNX engine asks of onnxruntime, on a recorded one, and what a true one computes on this CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_engine
import pytest
from engine import load_engine

from tests.recorded_onnxruntime import (
    BFLOAT16,
    CLASSES,
    FLOAT,
    FLOAT16,
    INT8,
    UINT8,
    images,
    onnx_file,
    recorded,
)

CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"

pytestmark = pytest.mark.usefixtures("a_machine_with_a_gpu")


def test_a_cpu_is_asked_for_what_it_always_was(monkeypatch: pytest.MonkeyPatch, model_path: Path) -> None:
    """One provider, no options, nothing bound, nothing of CUDA loaded."""
    module = recorded(monkeypatch)
    engine = load_engine(model_path, threads=3, max_batch_size=8)
    (session,) = module.sessions
    assert session.asked == [CPU]
    assert session.bindings == []
    assert module.preloaded == 0
    assert session.options.entries["session.intra_op.allow_spinning"] == "0"
    assert (engine.name, engine.graph_sizes) == (f"onnxruntime {CPU}", ())


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", 0), ("tf32", 1), ("fp16", 0)])
def test_tf32_is_on_only_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, model_path: Path, precision: str, tf32: int
) -> None:
    """fp32 means fp32: the provider's own default is TF32."""
    module = recorded(monkeypatch, CUDA)
    engine = load_engine(model_path, device="cuda:1", precision=precision, max_batch_size=8)
    (provider, options), last = module.sessions[0].asked
    assert (provider, last) == (CUDA, CPU)
    assert (options["device_id"], options["use_tf32"]) == (1, tf32)
    assert module.preloaded == 1
    facts = engine.facts()
    assert facts["precision"] == ("tf32" if tf32 else "fp32")
    assert facts["device"] == "cuda:1"


@pytest.mark.parametrize(("most", "search"), [(8, {"cudnn_conv_algo_search": "HEURISTIC"}), (1, {})])
def test_batches_of_many_sizes_are_not_searched_for_one_by_one(
    monkeypatch: pytest.MonkeyPatch, model_path: Path, most: int, search: dict[str, str]
) -> None:
    """The provider's own search takes a second for each new size, which a load would pay for."""
    module = recorded(monkeypatch, CUDA)
    load_engine(model_path, device="cuda:1", max_batch_size=most)
    assert module.sessions[0].asked == [(CUDA, {"device_id": 1, "use_tf32": 0, **search}), CPU]


def test_options_that_were_set_go_before_ours(monkeypatch: pytest.MonkeyPatch, model_path: Path) -> None:
    """What an operator sets of the provider is what the provider is told, and what the facts say."""
    module = recorded(monkeypatch, CUDA)
    options = {"device_id": 0, "prefer_nhwc": 1, "cudnn_conv_algo_search": "EXHAUSTIVE", "gpu_mem_limit": 5}
    engine = load_engine(model_path, device="cuda", provider_options=options, max_batch_size=8)
    ((_, asked), _) = module.sessions[0].asked
    assert asked == {"use_tf32": 0, **options}
    assert engine.facts()["options"] == {
        "io_binding": "on",
        "cuda_graphs": "off",
        "pinned_input": "off",
        "tf32": "off",
        "prefer_nhwc": "1",
        "conv_search": "EXHAUSTIVE",
    }


@pytest.mark.parametrize(
    ("asked", "output_at"), [("auto", ("cpu", 0)), ("cpu", ("cpu", 0)), ("device", ("cuda", 1))]
)
def test_batches_are_bound_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, model_path: Path, asked: str, output_at: tuple[str, int]
) -> None:
    """The input lies where it came, the output is bound anew for each run, to where it was asked."""
    module = recorded(monkeypatch, CUDA)
    engine = load_engine(model_path, device="cuda:1", io_binding=asked, max_batch_size=8)
    assert engine.run(images(3)).tolist() == [[3] * CLASSES] * 3
    engine.run(images(2))
    (binding,) = module.sessions[0].bindings
    assert [len(array) for _, array in binding.inputs] == [3, 2]
    assert binding.outputs == [("output", output_at)] * 2
    assert [options for _, options in module.sessions[0].runs] == [None, None]


def test_a_session_may_run_unbound_on_a_gpu(monkeypatch: pytest.MonkeyPatch, model_path: Path) -> None:
    """Off is off, and is told."""
    module = recorded(monkeypatch, CUDA)
    engine = load_engine(model_path, device="cuda", io_binding="off", max_batch_size=8)
    assert module.sessions[0].bindings == []
    assert engine.facts()["options"]["io_binding"] == "off"


@pytest.mark.parametrize(
    ("form", "words", "works"),
    [
        ("", "cuda:1", ()),
        ("tensorrt", "tensorrt on cuda:1", ()),
        ("tensorrt", "tensorrt on cuda:1", (CUDA,)),
    ],
)
def test_a_provider_that_fell_back_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, model_path: Path, form: str, words: str, works: tuple[str, ...]
) -> None:
    """The session only logs what it could not have; CUDA in TensorRT's place is another engine as well."""
    recorded(monkeypatch, CUDA, TENSORRT, works=works)
    found = works[0] if works else CPU
    with pytest.raises(
        RuntimeError, match=f"asked for {words}, but onnxruntime fell back to onnxruntime {found}"
    ):
        load_engine(model_path, device="cuda:1", format=form, max_batch_size=8)


def test_a_stand_in_is_named(monkeypatch: pytest.MonkeyPatch, model_path: Path) -> None:
    """Where the CPU may stand in, name and facts are the CPU's, and nothing is bound or captured."""
    recorded(monkeypatch, CUDA, works=())
    engine = load_engine(model_path, device="cuda", cpu_fallback=True, cuda_graphs="auto")
    assert (engine.name, engine.graph_sizes) == (f"onnxruntime {CPU}", ())
    assert (engine.facts()["device"], engine.facts()["options"]) == ("cpu", {"io_binding": "off"})


def test_a_run_that_fails_on_a_gpu_fails(monkeypatch: pytest.MonkeyPatch, model_path: Path) -> None:
    """The session would make a session on the CPU in its place, and go on."""
    module = recorded(monkeypatch, CUDA)
    load_engine(model_path, device="cuda", max_batch_size=8)
    assert not module.sessions[0].falls_back


def test_a_graph_that_landed_on_the_cpu_is_told(monkeypatch: pytest.MonkeyPatch, model_path: Path) -> None:
    """The provider of most nodes is the one that computes, whatever was registered first."""
    module = recorded(monkeypatch, CUDA)
    module.nodes = {CUDA: 3, CPU: 120}
    facts = load_engine(model_path, device="cuda", max_batch_size=8).facts()
    assert facts["provider"] == CPU
    assert facts["nodes"] == {CUDA: 3, CPU: 120}


def test_nodes_that_cannot_be_told_are_not_known(monkeypatch: pytest.MonkeyPatch, model_path: Path) -> None:
    """The registered provider is told, and asking a server how it is does not fail."""
    module = recorded(monkeypatch, CUDA)
    engine = load_engine(model_path, device="cuda", max_batch_size=8)

    def refuses() -> None:
        raise RuntimeError("graph assignment was not recorded")

    monkeypatch.setattr(module.sessions[0], "get_provider_graph_assignment_info", refuses)
    assert (engine.facts()["provider"], engine.facts()["nodes"]) == (CUDA, {})


def test_the_memory_of_many_batches_is_pinned(monkeypatch: pytest.MonkeyPatch, model_path: Path) -> None:
    """By the CUDA runtime that onnxruntime was built with, and only where a GPU reads it."""
    recorded(monkeypatch, CUDA)
    pinned: list[tuple[int, str]] = []

    def pin(buffer: npt.NDArray[Any], cuda_version: str) -> bool:
        pinned.append((buffer.nbytes, cuda_version))
        return True

    monkeypatch.setattr(onnx_engine, "pin", pin)
    engine = load_engine(model_path, device="cuda", max_batch_size=8)
    engine.pin(images(8))
    assert pinned == [(images(8).nbytes, "13.0")]
    assert engine.facts()["options"]["pinned_input"] == "on"
    recorded(monkeypatch)
    load_engine(model_path).pin(images(8))
    assert len(pinned) == 1


@pytest.mark.parametrize(("onnx_type", "asked"), [("tensor(float)", "uint8"), ("tensor(uint8)", "float32")])
def test_a_file_of_another_input_is_refused(
    monkeypatch: pytest.MonkeyPatch, model_path: Path, onnx_type: str, asked: str
) -> None:
    """A server that takes pixels on the wire must not feed them to a graph that wants them normalised."""
    recorded(monkeypatch, takes=onnx_type)
    with pytest.raises(RuntimeError, match=rf"input is {onnx_type[:6]}.*, and {asked} was asked for"):
        load_engine(model_path, input_dtype=asked)


@pytest.mark.parametrize(
    ("weights", "precision"), [(FLOAT, "fp32"), (FLOAT16, "fp16"), (INT8, "int8"), (BFLOAT16, "bf16")]
)
def test_the_precision_is_that_of_the_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: int, precision: str
) -> None:
    """Whatever was asked for, on a CPU and on a GPU."""
    path = onnx_file(tmp_path / "model.onnx", weights=weights)
    recorded(monkeypatch)
    assert load_engine(path, precision="int8").facts()["precision"] == precision
    recorded(monkeypatch, CUDA)
    assert load_engine(path, device="cuda").facts()["precision"] == precision


@pytest.mark.parametrize("weights", [FLOAT, FLOAT16, INT8])
@pytest.mark.parametrize("takes", [FLOAT, UINT8])
@pytest.mark.parametrize("size", [1, 4])
def test_a_true_session_computes_the_same_bound_and_unbound(
    tmp_path: Path, weights: int, takes: int, size: int
) -> None:
    """On this CPU, for each type of weights and of input, batches of changing size one after the other."""
    path = onnx_file(tmp_path / "model.onnx", weights=weights, takes=takes)
    dtype = "uint8" if takes == UINT8 else "float32"
    plain, bound = load_engine(path), load_engine(path, io_binding="cpu")
    assert plain.input_dtype == bound.input_dtype == dtype
    for count in (size, 3, size):
        batch = images(count, dtype)
        expected = batch.astype(np.float32).mean(axis=(2, 3)) @ (np.arange(15).reshape(3, 5) / 4)
        # onnxruntime multiplies eight-bit weights in eight bits.
        assert plain.run(batch) == pytest.approx(expected, rel=1e-2 if weights == INT8 else 1e-5)
        assert np.array_equal(plain.run(batch), bound.run(batch))
        assert bound.run(batch).dtype == np.float32


def test_facts_of_a_true_session(model_path: Path) -> None:
    """Engine, provider, nodes and options are what onnxruntime itself says."""
    import onnxruntime

    facts = load_engine(model_path).facts()
    assert facts["nodes"][CPU] > 0
    assert set(facts["nodes"]) == {CPU}
    assert {**facts, "nodes": {}} == {
        "engine": f"onnxruntime {onnxruntime.__version__}",
        "provider": CPU,
        "device": "cpu",
        "precision": "fp32",
        "nodes": {},
        "options": {"io_binding": "off"},
    }
