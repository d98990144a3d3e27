"""What the torch engine asks of torch: of a recorded one with a GPU, and of the true one on this CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch_engine
import torch_tensorrt_file
from engine import load_engine

from pytest_servebench.folders.shipped import shipped
from pytest_servebench.plan import ModelFormat
from tests.recorded_torch import CLASSES, RecordedTorch
from tests.tiny_model import build_tiny_model

PATH = Path("model.pt")
HANDLERS = shipped("handlers")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> RecordedTorch:
    """Put a recorded torch in the true one's place."""
    module = RecordedTorch()
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setattr(torch_engine, "pin", module.pin)
    return module


def images(count: int) -> npt.NDArray[np.float32]:
    """Return a batch."""
    return np.zeros((count, 3, 8, 8), np.float32)


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", False), ("tf32", True), ("fp16", False)])
def test_tf32_is_on_only_where_it_is_asked_for(gpu: RecordedTorch, precision: str, tf32: bool) -> None:
    """Products and convolutions alike: torch's own default is on for one of the two."""
    load_engine(PATH, device="cuda:1", precision=precision)
    assert (gpu.backends.cuda.matmul.allow_tf32, gpu.backends.cudnn.allow_tf32) == (tf32, tf32)


@pytest.mark.parametrize(("override", "found"), [(None, "tf32"), ("0", "fp32"), ("1", "tf32")])
def test_the_facts_say_where_tf32_is_forbidden(
    gpu: RecordedTorch, monkeypatch: pytest.MonkeyPatch, override: str | None, found: str
) -> None:
    """CUDA's libraries obey the variable before torch's switches, which stay as they were set."""
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    if override is not None:
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", override)
    engine = load_engine(PATH, device="cuda", precision="tf32")
    assert gpu.backends.cuda.matmul.allow_tf32
    assert engine.facts()["precision"] == found


def test_a_batch_is_copied_without_waiting_and_read_as_tensor_cores_do(gpu: RecordedTorch) -> None:
    """Module and input are channels-last; the answer is the whole batch's."""
    engine = load_engine(PATH, device="cuda:1", max_batch_size=8)
    assert engine.run(images(3)).shape == (3, CLASSES)
    assert gpu.said == [
        "module channels_last",
        "to cuda:1 without waiting",
        "channels_last",
        "forward 3 eagerly",
    ]
    assert gpu.loaded == ["model.pt on cuda:1"]


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", "torch.float16"), ("bf16", "torch.bfloat16")])
def test_half_precision_is_of_the_weights_and_of_autocast(
    gpu: RecordedTorch, precision: str, dtype: str
) -> None:
    """Weights of products are turned once, biases and statistics stay; the facts say what the weights are."""
    engine = load_engine(PATH, device="cuda", precision=precision)
    engine.run(images(1))
    assert [each.dtype for each in gpu.module.weights] == [dtype, "torch.float32", dtype]
    assert gpu.autocasts == {("cuda", dtype, True)}
    facts = engine.facts()
    assert (facts["precision"], facts["options"]["autocast"]) == (precision, dtype.removeprefix("torch."))


def test_a_graph_is_captured_once_for_each_size(gpu: RecordedTorch) -> None:
    """Three runs beside come first; other sizes run eagerly; nothing is captured unless asked for."""
    engine = load_engine(PATH, device="cuda", cuda_graphs="on", max_batch_size=4, channels_last=False)
    assert engine.graph_sizes == (1, 2, 4)
    for size in (2, 2, 3):
        assert len(engine.run(images(size))) == size
    copied = ["copy into the graph's input, without waiting", "replay"]
    assert gpu.said == [
        "to cuda",
        *["forward 2 beside"] * 3,
        "forward 2 captured",
        *copied,
        *copied,
        "to cuda without waiting",
        "forward 3 eagerly",
    ]
    assert engine.facts()["options"]["cuda_graphs"] == "1,2,4"
    assert gpu.captures == [(0, "thread_local")]
    assert load_engine(PATH, device="cuda", max_batch_size=1).graph_sizes == ()


def test_no_kernel_is_compiled_while_batches_run(gpu: RecordedTorch) -> None:
    """Each new batch size would stop the server for seconds; neither of torch's two fusers is left on."""
    load_engine(PATH, device="cuda")
    assert gpu.fusers == {"texpr": False, "gpu": False}


def test_torch_has_the_switches_of_its_fusers() -> None:
    """The true one: they have no public name that sets them for good."""
    code = (
        "import torch; from torch_engine import _fuse_nothing as off; on = torch._C._jit_texpr_fuser_enabled"
    )
    told = f"{code}; before = on(); off(torch); print(before, on(), torch._C._jit_can_fuse_on_gpu())"
    command = [sys.executable, "-c", told]
    environment = {**os.environ, "PYTHONPATH": str(HANDLERS)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert said.stdout.split() == ["True", "False", "False"]


def test_all_is_asked_of_the_engines_own_gpu(gpu: RecordedTorch) -> None:
    """The current one stays 0 otherwise: a capture would be of its stream, and pinning take memory of it."""
    engine = load_engine(PATH, device="cuda:1", cuda_graphs="on", max_batch_size=2)
    engine.run(images(2))
    engine.pin(images(2))
    assert gpu.captures == [(1, "thread_local")]
    assert (gpu.pinned_on, gpu.current_gpu) == ([1], 0)


def test_the_memory_of_many_batches_is_pinned(gpu: RecordedTorch) -> None:
    """By the CUDA runtime that torch was built for; the facts say so."""
    engine = load_engine(PATH, device="cuda:1")
    assert engine.facts()["options"]["pinned_input"] == "off"
    engine.pin(images(4))
    assert gpu.pinned == [images(4).nbytes]
    assert engine.facts() == {
        "engine": "torch 2.13.0",
        "provider": "libtorch",
        "device": "cuda:1",
        "precision": "fp32",
        "nodes": {},
        "options": {
            "memory_format": "channels_last",
            "autocast": "off",
            "cuda_graphs": "off",
            "pinned_input": "on",
            "tf32": "off",
            "fusion": "off",
        },
    }


@pytest.fixture
def compiler(gpu: RecordedTorch, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Put Torch-TensorRT there; return what it was asked to compile."""
    asked: list[dict[str, Any]] = []

    def compiled(script: Any, **how: Any) -> Any:
        asked.append(how)
        return script

    module = SimpleNamespace(
        __version__="2.13.0",
        ENABLED_FEATURES=SimpleNamespace(torchscript_frontend=True),
        Input=lambda **shapes: shapes,
        Device=lambda gpu_id: f"gpu {gpu_id}",
        compile=compiled,
    )
    modules = {"torch": gpu, "torch_tensorrt": module}
    monkeypatch.setattr(torch_tensorrt_file, "find_spec", modules.get)
    monkeypatch.setattr(torch_tensorrt_file, "import_module", modules.__getitem__)
    monkeypatch.setattr(torch_tensorrt_file, "gpu_identity", lambda index: f"NVIDIA T{index} sm75")
    return asked


def test_tensorrt_compiles_torchscript_once(
    gpu: RecordedTorch, compiler: list[dict[str, Any]], tmp_path: Path
) -> None:
    """For one image up to the most, kept for this GPU, precision and file, and loaded from there."""
    path = tmp_path / "model.pt"
    path.write_bytes(b"a model")
    options = {"device": "cuda:1", "format": "tensorrt", "cache_path": str(tmp_path), "max_batch_size": 16}
    engine = load_engine(path, **options, precision="fp16", image_shape=(3, 8, 8))
    load_engine(path, **options, precision="fp16", image_shape=(3, 8, 8))
    (how,) = compiler
    assert how == {
        "ir": "ts",
        "inputs": [
            {
                "min_shape": (1, 3, 8, 8),
                "opt_shape": (16, 3, 8, 8),
                "max_shape": (16, 3, 8, 8),
                "dtype": "torch.float16",
            }
        ],
        "enabled_precisions": {"torch.float32", "torch.float16"},
        "disable_tf32": True,
        "workspace_size": 0,
        "device": "gpu 1",
    }
    assert gpu.said == ["module in half"]
    first, kept, again = gpu.loaded
    assert first == f"{path} on cuda:1"
    assert kept == again
    assert kept.endswith("/model.ts on cuda:1")
    assert engine.facts()["provider"] == "torch_tensorrt"
    load_engine(path, **{**options, "max_batch_size": 8}, precision="fp16", image_shape=(3, 8, 8))
    assert len(compiler) == 2


@pytest.mark.parametrize(
    ("asked", "fed"),
    [
        (("fp16", "float32"), "float16"),
        (("fp32", "float32"), "float32"),
        (("fp16", "uint8"), "float32"),
        (("tf32", "uint8"), "float32"),
    ],
)
def test_a_compiled_file_is_given_what_it_was_compiled_for(
    gpu: RecordedTorch, compiler: list[dict[str, Any]], tmp_path: Path, asked: tuple[str, str], fed: str
) -> None:
    """Torch-TensorRT refuses other types, and knows no uint8; pixels become float32 on the GPU."""
    path = tmp_path / "model.pt"
    path.write_bytes(b"a model")
    precision, input_dtype = asked
    options = {"device": "cuda:1", "format": "tensorrt", "cache_path": str(tmp_path), "max_batch_size": 2}
    engine = load_engine(path, **options, precision=precision, input_dtype=input_dtype)
    gpu.said.clear()
    engine.run(images(2).astype(input_dtype))
    assert compiler[0]["inputs"][0]["dtype"] == f"torch.{fed}"
    assert gpu.said == ["to cuda:1 without waiting", f"to torch.{fed}", "forward 2 eagerly"]


def test_why_torch_tensorrt_compiles_no_file_is_told(
    compiler: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever it raises, in words with its release: TorchServe tells nothing of what is no RuntimeError."""

    def refuse(script: Any, **how: Any) -> Any:
        compiler.append(how)
        raise TypeError("no such type")

    module = vars(torch_tensorrt_file)["find_spec"]("torch_tensorrt")
    monkeypatch.setattr(module, "compile", refuse)
    path = tmp_path / "model.pt"
    path.write_bytes(b"a model")
    said = "Torch-TensorRT 2.13.0 did not compile model.pt for fp16: TypeError: no such type"
    with pytest.raises(RuntimeError, match=said):
        load_engine(path, device="cuda", format="tensorrt", precision="fp16", cache_path=str(tmp_path))
    assert compiler
    assert list(tmp_path.rglob("*.ts")) == []


def test_what_torch_tensorrt_lacks_is_named(
    compiler: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not installed, without its part for TorchScript, asked for bf16 or int8, or asked for on a CPU."""
    for precision in ("bf16", "int8"):
        with pytest.raises(RuntimeError, match=f"compiles TorchScript for fp32, tf32, fp16, not {precision}"):
            load_engine(PATH, device="cuda", format="tensorrt", precision=precision)
    module = vars(torch_tensorrt_file)["find_spec"]("torch_tensorrt")
    monkeypatch.setattr(module.ENABLED_FEATURES, "torchscript_frontend", False)
    with pytest.raises(RuntimeError, match=r"Torch-TensorRT 2.13.0 has no part for TorchScript: pip install"):
        load_engine(PATH, device="cuda", format="tensorrt")
    monkeypatch.setattr(torch_tensorrt_file, "find_spec", lambda _: None)
    with pytest.raises(RuntimeError, match="needs Torch-TensorRT, which is not installed: pip install"):
        load_engine(PATH, device="cuda", format="tensorrt")
    with pytest.raises(RuntimeError, match="tensorrt, which needs a GPU, and this runs on cpu"):
        load_engine(PATH, format="tensorrt")
    assert compiler == []


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a true TorchScript file."""
    return build_tiny_model(tmp_path_factory.mktemp("tiny"), ModelFormat.PYTORCH).path


def test_bf16_on_a_cpu_is_what_autocast_computes(tiny: Path) -> None:
    """For real: weights kept in bf16 change nothing of autocast's result, and it is not fp32's."""
    import torch

    batch = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    full, half = load_engine(tiny), load_engine(tiny, precision="bf16")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(str(tiny)).eval()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = module(torch.from_numpy(batch)).float().numpy()
    with torch.inference_mode():
        exact = module(torch.from_numpy(batch)).numpy()
    assert np.array_equal(half.run(batch), expected)
    assert np.array_equal(full.run(batch), exact)
    assert not np.array_equal(expected, exact)
    assert half.facts()["precision"] == "bf16"
    assert half.facts()["options"] == {"memory_format": "contiguous", "autocast": "bfloat16"}
    assert full.facts() == {
        "engine": f"torch {torch.__version__}",
        "provider": "libtorch",
        "device": "cpu",
        "precision": "fp32",
        "nodes": {},
        "options": {"memory_format": "contiguous", "autocast": "off"},
    }


def test_fp16_is_not_computed_on_a_cpu(tiny: Path) -> None:
    """As ever: what was asked for is not what the facts then say."""
    assert load_engine(tiny, precision="fp16").facts()["precision"] == "fp32"
