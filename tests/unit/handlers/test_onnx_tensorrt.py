"""What the ONNX engine asks of onnxruntime's two TensorRT providers, on a recorded onnxruntime."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gpu_identity
import numpy as np
import onnx_providers
import pytest
from engine import load_engine
from onnx_engine import WITHOUT_INT32_BIASES

from pytest_servebench.models.quantisation import quantised
from tests.recorded_onnxruntime import (
    FLOAT,
    FLOAT16,
    SIDE,
    RecordedOnnxruntime,
    images,
    onnx_file,
    recorded,
)

CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"
RTX = "NvTensorRTRTXExecutionProvider"

pytestmark = pytest.mark.usefixtures("a_machine_with_a_gpu")


def test_tensorrt_captures_one_size_alone(
    monkeypatch: pytest.MonkeyPatch, model_path: Path, tmp_path: Path
) -> None:
    """Its provider keeps one graph for whatever came first, and would replay it for every other size."""
    module = recorded(monkeypatch, CUDA, TENSORRT)
    usual = {"device": "cuda", "format": "tensorrt", "cache_path": str(tmp_path)}
    engine = load_engine(model_path, max_batch_size=1, cuda_graphs="auto", **usual)
    assert module.sessions[0].asked[0][1]["trt_cuda_graph_enable"] is True
    assert (engine.graph_sizes, engine.facts()["options"]["cuda_graphs"]) == ((1,), "1")
    with pytest.raises(RuntimeError, match=r"keeps one CUDA graph.* up to 8 images: CUDA_GRAPHS=off, or MAX"):
        load_engine(model_path, max_batch_size=8, cuda_graphs="on", **usual)
    assert load_engine(model_path, max_batch_size=8, cuda_graphs="auto", **usual).graph_sizes == ()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_only_switches_of_tensorrt_that_are_on_are_told(
    monkeypatch: pytest.MonkeyPatch, model_path: Path, tmp_path: Path, precision: str
) -> None:
    """An older provider refuses an option that it does not know, even where it is off."""
    module = recorded(monkeypatch, CUDA, TENSORRT)
    load_engine(model_path, device="cuda", format="tensorrt", precision=precision, cache_path=str(tmp_path))
    types = {f"trt_{word}_enable" for word in ("fp16", "bf16", "int8")}
    on = {key: value for key, value in module.sessions[0].asked[0][1].items() if key in types}
    assert on == ({} if precision == "fp32" else {f"trt_{precision}_enable": True})


def test_bf16_is_not_asked_of_a_gpu_without_it(
    monkeypatch: pytest.MonkeyPatch, model_path: Path, tmp_path: Path
) -> None:
    """The provider would turn it off by itself, and go on telling that it is on."""
    module = recorded(monkeypatch, CUDA, TENSORRT)
    asked = {"device": "cuda", "format": "tensorrt", "precision": "bf16", "cache_path": str(tmp_path)}
    monkeypatch.setattr(onnx_providers, "gpu_identity", lambda _: "NVIDIA T4 sm75")
    with pytest.raises(RuntimeError, match=r"NVIDIA T4 sm75 has no bf16, which begins at 8\.0: fp16 it has"):
        load_engine(model_path, **asked)
    monkeypatch.setattr(onnx_providers, "gpu_identity", lambda _: "NVIDIA B200 sm100")
    assert load_engine(model_path, **asked).facts()["precision"] == "bf16"
    assert len(module.sessions) == 1


def test_tensorrt_is_built_for_all_batches_and_kept(
    monkeypatch: pytest.MonkeyPatch, model_path: Path, tmp_path: Path
) -> None:
    """One engine from one image to the most, in a folder of this GPU, these libraries and this file."""
    module = recorded(monkeypatch, CUDA, TENSORRT)
    engine = load_engine(
        model_path,
        device="cuda:1",
        format="tensorrt",
        precision="fp16",
        max_batch_size=32,
        tensorrt_workspace_bytes=1 << 30,
        cache_path=str(tmp_path / "kept"),
    )
    (first, second, last) = module.sessions[0].asked
    folder = first[1]["trt_engine_cache_path"]
    assert first == (
        TENSORRT,
        {
            "device_id": 1,
            "trt_profile_min_shapes": f"input:1x3x{SIDE}x{SIDE}",
            "trt_profile_opt_shapes": f"input:32x3x{SIDE}x{SIDE}",
            "trt_profile_max_shapes": f"input:32x3x{SIDE}x{SIDE}",
            "trt_fp16_enable": True,
            "trt_max_workspace_size": 1 << 30,
            "trt_engine_cache_enable": 1,
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": 1,
            "trt_timing_cache_path": folder,
        },
    )
    of_cuda = {"device_id": 1, "use_tf32": 0, "cudnn_conv_algo_search": "HEURISTIC"}
    assert (second, last) == ((CUDA, of_cuda), CPU)
    assert Path(folder).parent == tmp_path / "kept"
    assert Path(folder).name.startswith("model-NVIDIA-A5-sm86-")
    facts = engine.facts()
    assert (facts["provider"], facts["precision"]) == (TENSORRT, "fp16")
    assert facts["options"]["engine_cache"] == "on"


@pytest.mark.parametrize(
    "changed",
    [{"device": "cuda:1"}, {"precision": "bf16"}, {"max_batch_size": 16}, {"weights": FLOAT16}],
    ids=["gpu", "precision", "batch", "file"],
)
def test_another_engine_is_kept_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: dict[str, Any]
) -> None:
    """What is built for one GPU, precision, batch or file is never loaded for another."""
    module = recorded(monkeypatch, CUDA, TENSORRT)
    usual: dict[str, Any] = {"device": "cuda", "precision": "fp32", "max_batch_size": 8, "weights": FLOAT}
    for each in (usual, {**usual, **changed}, usual):
        path = onnx_file(tmp_path / "model.onnx", weights=each["weights"])
        options = {key: value for key, value in each.items() if key != "weights"}
        load_engine(path, format="tensorrt", cache_path=str(tmp_path / "kept"), **options)
    first, other, again = (session.asked[0][1]["trt_engine_cache_path"] for session in module.sessions)
    assert first == again != other


@pytest.mark.parametrize(("precision", "found"), [("fp32", "fp32"), ("tf32", "tf32"), ("int8", "int8")])
def test_tensorrt_computes_tf32_unless_the_environment_says_no(
    monkeypatch: pytest.MonkeyPatch, model_path: Path, tmp_path: Path, precision: str, found: str
) -> None:
    """Its provider has no option for it, so NVIDIA's variable is set before TensorRT is loaded."""
    recorded(monkeypatch, CUDA, TENSORRT)
    engine = load_engine(
        model_path, device="cuda", format="tensorrt", precision=precision, cache_path=str(tmp_path)
    )
    assert os.environ.get("NVIDIA_TF32_OVERRIDE") == (None if precision == "tf32" else "0")
    assert engine.facts()["precision"] == found


def test_an_engine_is_not_kept_for_a_gpu_nobody_knows(
    monkeypatch: pytest.MonkeyPatch, model_path: Path
) -> None:
    """Without a name for the GPU a kept engine might be another one's."""

    def unknown(index: int) -> str:
        raise gpu_identity.GpuUnknownError(f"CUDA does not know GPU {index}")

    monkeypatch.setattr(onnx_providers, "gpu_identity", unknown)
    module = recorded(monkeypatch, CUDA, TENSORRT)
    engine = load_engine(model_path, device="cuda", format="tensorrt")
    assert "trt_engine_cache_enable" not in module.sessions[0].provider_options[TENSORRT]
    assert engine.facts()["options"]["engine_cache"] == "off"


def test_tensorrt_needs_the_size_of_an_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An input of any size has no profile."""
    recorded(monkeypatch, CUDA, TENSORRT)
    path = onnx_file(tmp_path / "model.onnx", side="side")
    with pytest.raises(RuntimeError, match=r"needs the size of an image, and the input is \[None, 3, None"):
        load_engine(path, device="cuda", format="tensorrt")


def test_without_tensorrt_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, model_path: Path) -> None:
    """A package of onnxruntime without the provider says what to install."""
    recorded(monkeypatch, CUDA)
    monkeypatch.setattr(onnx_providers, "find_spec", lambda _: None)
    with pytest.raises(RuntimeError, match=r"has no TensorRT provider: in place of onnxruntime, pip install"):
        load_engine(model_path, device="cuda", format="tensorrt")


@pytest.mark.parametrize(("form", "kept"), [("tensorrt", False), ("", True)])
def test_biases_stay_as_the_file_has_them_for_tensorrt_alone(
    monkeypatch: pytest.MonkeyPatch, model_path: Path, tmp_path: Path, form: str, kept: bool
) -> None:
    """It reads no biases in int32; the other providers may have them."""
    module = recorded(monkeypatch, CUDA, TENSORRT)
    load_engine(model_path, device="cuda", format=form, max_batch_size=8, cache_path=str(tmp_path))
    name, value = WITHOUT_INT32_BIASES
    assert (module.sessions[0].options.entries.get(name) != value) == kept


def int32_inputs(path: Path, target: Path, *entries: tuple[str, str]) -> int:
    """Return how many constants of int32 are dequantised where a provider is first shown the graph."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    for entry in entries:
        options.add_session_config_entry(*entry)
    onnxruntime.InferenceSession(str(path), options, providers=[CPU])
    graph = onnx.load(str(target)).graph
    wide = {each.name for each in graph.initializer if each.data_type == onnx.TensorProto.INT32}
    return sum(node.op_type == "DequantizeLinear" and node.input[0] in wide for node in graph.node)


def test_a_true_onnxruntime_leaves_biases_alone_when_told(tmp_path: Path) -> None:
    """Of our own int8 form: what an installed onnxruntime does by itself, and does not with the option."""
    path = convolutions_in_int8(tmp_path)
    assert int32_inputs(path, tmp_path / "told.onnx", WITHOUT_INT32_BIASES) == 0
    assert int32_inputs(path, tmp_path / "alone.onnx") == 1


def convolutions_in_int8(folder: Path) -> Path:
    """Return a file of three convolutions, of which the second and third are quantised."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(3)
    nodes, constants, last = [], [], "input"
    for number in range(3):
        weights = random.standard_normal((3, 3, 1, 1)).astype(np.float32)
        bias = random.standard_normal(3).astype(np.float32)
        constants += [
            numpy_helper.from_array(weights, f"w{number}"),
            numpy_helper.from_array(bias, f"b{number}"),
        ]
        inputs = [last, f"w{number}", f"b{number}"]
        nodes.append(helper.make_node("Conv", inputs, [f"c{number}"], f"conv{number}"))
        last = "output" if number == 2 else f"r{number}"
        nodes.append(helper.make_node("Relu", [f"c{number}"], [last], f"relu{number}"))
    shape: list[str | int | None] = ["n", 3, SIDE, SIDE]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input", "output")]
    graph = helper.make_graph(nodes, "convolutions", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "fp32.onnx"))
    quantised(folder / "fp32.onnx", folder / "int8.onnx", images(4) / np.float32(255), "minmax")
    return folder / "int8.onnx"


@pytest.fixture
def rtx(monkeypatch: pytest.MonkeyPatch) -> RecordedOnnxruntime:
    """Put onnxruntime there without TensorRT, and its plugin, which knows two GPUs."""
    module = recorded(monkeypatch, RTX)
    module.has = (CPU,)
    module.ep_devices = [SimpleNamespace(ep_name=name, number=n) for n, name in enumerate((CPU, RTX, RTX))]
    package = SimpleNamespace(get_library_path=lambda: "/rtx/provider.so", __version__="0.5.0")
    monkeypatch.setattr(onnx_providers, "find_spec", lambda name: name == onnx_providers.RTX_PACKAGE or None)
    monkeypatch.setattr(onnx_providers, "import_module", lambda _: package)
    return module


def test_tensorrt_for_rtx_is_a_plugin(rtx: RecordedOnnxruntime, model_path: Path, tmp_path: Path) -> None:
    """Its library is registered, its device of that index added, and its own cache kept."""
    engine = load_engine(
        model_path, device="cuda:1", format="tensorrt", max_batch_size=8, cache_path=str(tmp_path)
    )
    assert rtx.registered == [(RTX, "/rtx/provider.so")]
    (session,) = rtx.sessions
    assert session.options.devices is not None
    ((device,), options) = session.options.devices
    assert device.number == 2
    assert options["nv_profile_max_shapes"] == f"input:8x3x{SIDE}x{SIDE}"
    assert Path(options["nv_runtime_cache_path"]).parent == tmp_path
    assert session.asked == []
    assert engine.facts()["provider"] == RTX
    assert engine.facts()["precision"] == "fp32"


def test_the_plugin_for_rtx_is_registered_once(
    rtx: RecordedOnnxruntime, model_path: Path, tmp_path: Path
) -> None:
    """A server over two GPUs has two engines in one process, and onnxruntime refuses a name that it knows."""
    for device in ("cuda:0", "cuda:1"):
        load_engine(model_path, device=device, format="tensorrt", cache_path=str(tmp_path))
    assert rtx.registered == [(RTX, "/rtx/provider.so")]
    chosen = [session.options.devices[0][0].number for session in rtx.sessions if session.options.devices]
    assert chosen == [1, 2]


def test_rtx_says_which_file_it_needs(rtx: RecordedOnnxruntime, model_path: Path) -> None:
    """It computes in the file's types: fp16 of an fp32 file would be fp32 under another name."""
    with pytest.raises(RuntimeError, match="which is fp32: export the model to fp16"):
        load_engine(model_path, device="cuda", format="tensorrt", precision="fp16")
    with pytest.raises(RuntimeError, match="captures no CUDA graph here: CUDA_GRAPHS=off, or auto"):
        load_engine(model_path, device="cuda", format="tensorrt", cuda_graphs="on")
    with pytest.raises(RuntimeError, match=r"knows 2 GPU\(s\) it can compute on, not cuda:2"):
        load_engine(model_path, device="cuda:2", format="tensorrt")
