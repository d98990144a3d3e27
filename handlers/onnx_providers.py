"""onnxruntime's providers and their options, decided from what was asked; loads no CUDA library for a CPU.

A guest. The options are those of onnxruntime's pages "CUDA Execution Provider" and "TensorRT Execution
Provider", and of NVIDIA's "TensorRT-RTX EP: provider options".
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine import EngineOptions, graph_sizes
from gpu_identity import GpuUnknownError, engine_folder, gpu_identity
from onnx_file import OnnxFile

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
TENSORRT_RTX = "NvTensorRTRTXExecutionProvider"
RTX_PACKAGE = "onnxruntime_ep_nv_tensorrt_rtx"
TF32_OVERRIDE = "NVIDIA_TF32_OVERRIDE"
"""A variable of NVIDIA's libraries; 0 turns TF32 off, for which TensorRT's provider has no option."""
_TENSORRT_LIBRARIES = ("libnvinfer.so.10", "libnvonnxparser.so.10")
"""What onnxruntime's provider was built against; onnxruntime 1.31 needs TensorRT 10."""
_BF16_SINCE = 80
"""The compute capability from which on its provider does not turn bf16 off."""


@dataclass(frozen=True)
class Providers:
    """What a session is made with."""

    wanted: str
    """The provider that shall compute."""
    listed: tuple[str | tuple[str, dict[str, Any]], ...]
    """In order of precedence; empty: those of ``devices``."""
    devices: tuple[Any, ...] = ()
    """Of a plugin: what `SessionOptions.add_provider_for_devices` takes."""
    device_options: dict[str, str] | None = None


def providers_of(asked: EngineOptions, path: Path, file: OnnxFile, onnxruntime: Any) -> Providers:
    """Return the providers; raises ``RuntimeError`` where what was asked for needs what is not installed."""
    if asked.gpu is None:
        return Providers(wanted=CPU, listed=(CPU,))
    if asked.format != "tensorrt":
        return Providers(wanted=CUDA, listed=((CUDA, cuda_options(asked)), CPU))
    if TENSORRT in onnxruntime.get_available_providers():
        options = tensorrt_options(asked, path, file, onnxruntime)
        return Providers(wanted=TENSORRT, listed=((TENSORRT, options), (CUDA, cuda_options(asked)), CPU))
    if find_spec(RTX_PACKAGE) is not None:
        return _rtx(asked, path, file, onnxruntime)
    raise RuntimeError(
        f"onnxruntime {onnxruntime.__version__} has no TensorRT provider: in place of onnxruntime, "
        'pip install onnxruntime-gpu "tensorrt-cu13-libs<11" --extra-index-url https://pypi.nvidia.com; '
        "or onnxruntime-ep-nv-tensorrt-rtx beside it"
    )


def cuda_options(asked: EngineOptions) -> dict[str, Any]:
    """Return the options of the CUDA provider; those that were given go before ours."""
    options: dict[str, Any] = {
        # Without it onnxruntime takes GPU 0, whichever was asked for.
        "device_id": asked.gpu,
        # On unless told: fp32 would be 11 bits in every product.
        "use_tf32": int(asked.precision == "tf32"),
    }
    if asked.max_batch_size > 1:
        # Left alone it tries kernels anew whenever a batch is of another size, in the midst of a load: since
        # 1.20 it keeps those of one size alone (microsoft/onnxruntime#23006).
        options["cudnn_conv_algo_search"] = "HEURISTIC"
    if asked.format != "tensorrt" and graph_sizes(asked):
        options["enable_cuda_graph"] = 1
    return {**options, **asked.provider_options}


def tensorrt_options(asked: EngineOptions, path: Path, file: OnnxFile, onnxruntime: Any) -> dict[str, Any]:
    """Return the options of the TensorRT provider, whose engine is built when the session is made.

    One engine serves all batch sizes up to the largest, and is built for the largest. It is kept in a folder
    for this GPU, these libraries, this precision and this file; where the driver does not tell which GPU
    it is, it is built at each start.
    """
    if asked.precision != "tf32":
        os.environ.setdefault(TF32_OVERRIDE, "0")
    options: dict[str, Any] = {"device_id": asked.gpu, **_profile("trt", asked, file)}
    gpu = _gpu(asked)
    if asked.precision == "bf16" and gpu and int(gpu.rpartition("sm")[2]) < _BF16_SINCE:
        # The provider turns it off by itself, with a line in its log, and goes on telling that it is on.
        raise RuntimeError(f"{gpu} has no bf16, which begins at 8.0: fp16 it has")
    if asked.precision in {"fp16", "bf16", "int8"}:
        # True, not 1, which its Python binding refuses; only what is on: older ones refuse bf16 by name.
        options[f"trt_{asked.precision}_enable"] = True
    if asked.tensorrt_workspace_bytes is not None:
        options["trt_max_workspace_size"] = asked.tensorrt_workspace_bytes
    if graph_sizes(asked):
        options["trt_cuda_graph_enable"] = _one_graph(asked)
    version = f"onnxruntime {onnxruntime.__version__}, TensorRT {_load_tensorrt()}"
    folder = _folder(asked, path, gpu, version)
    if folder:
        options |= {
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": folder,
        }
    return options


def _one_graph(asked: EngineOptions) -> bool:
    """Return True; raises ``RuntimeError`` for batches of several sizes.

    The TensorRT provider of onnxruntime 1.31 reads no ``gpu_graph_id``: whatever ran first is captured, and
    every later run, of another size and under another id too, would replay that and answer with its output.
    """
    if asked.max_batch_size > 1:
        raise RuntimeError(
            "onnxruntime's TensorRT provider keeps one CUDA graph, for one batch size, and batches are of "
            f"up to {asked.max_batch_size} images: CUDA_GRAPHS=off, or MAX_BATCH_SIZE=1"
        )
    return True


def _rtx(asked: EngineOptions, path: Path, file: OnnxFile, onnxruntime: Any) -> Providers:
    """Return TensorRT for RTX, a plugin: it computes in the types that the file has.

    Its devices come in CUDA's order. It captures no graphs of ours: their numbers are another run option.
    """
    if asked.cuda_graphs == "on":
        raise RuntimeError("TensorRT for RTX captures no CUDA graph here: CUDA_GRAPHS=off, or auto")
    if asked.precision not in {"tf32", file.precision}:
        raise RuntimeError(
            f"TensorRT for RTX computes in the types of the file, which is {file.precision}: "
            f"export the model to {asked.precision}"
        )
    if asked.precision != "tf32":
        os.environ.setdefault(TF32_OVERRIDE, "0")
    package = import_module(RTX_PACKAGE)
    devices = _rtx_devices(onnxruntime)
    if not devices:
        # Once: the second engine of this process would be refused, "already registered".
        onnxruntime.register_execution_provider_library(TENSORRT_RTX, package.get_library_path())
        devices = _rtx_devices(onnxruntime)
    if asked.gpu is None or asked.gpu >= len(devices):
        raise RuntimeError(
            f"TensorRT for RTX knows {len(devices)} GPU(s) it can compute on, not {asked.device}"
        )
    options = {key: str(value) for key, value in _profile("nv", asked, file).items()}
    if asked.tensorrt_workspace_bytes is not None:
        options["nv_max_workspace_size"] = str(asked.tensorrt_workspace_bytes)
    version = f"onnxruntime {onnxruntime.__version__}, RTX {package.__version__}"
    folder = _folder(asked, path, _gpu(asked), version)
    if folder:
        options["nv_runtime_cache_path"] = folder
    return Providers(wanted=TENSORRT_RTX, listed=(), devices=(devices[asked.gpu],), device_options=options)


def _rtx_devices(onnxruntime: Any) -> list[Any]:
    return [each for each in onnxruntime.get_ep_devices() if each.ep_name == TENSORRT_RTX]


def _profile(prefix: str, asked: EngineOptions, file: OnnxFile) -> dict[str, Any]:
    """Return the shapes that an engine is built for: from one image to the most, and best for the most."""
    _, *image = file.input_shape
    if None in image:
        raise RuntimeError(f"TensorRT needs the size of an image, and the input is {list(file.input_shape)}")
    of_size = {n: f"{file.input_name}:{'x'.join(map(str, (n, *image)))}" for n in (1, asked.max_batch_size)}
    most = of_size[asked.max_batch_size]
    return {
        f"{prefix}_profile_min_shapes": of_size[1],
        f"{prefix}_profile_opt_shapes": most,
        f"{prefix}_profile_max_shapes": most,
    }


def _gpu(asked: EngineOptions) -> str:
    """Return name and compute capability of the GPU; empty where the driver does not tell."""
    assert asked.gpu is not None
    try:
        return gpu_identity(asked.gpu)
    except GpuUnknownError:
        return ""


def _folder(asked: EngineOptions, path: Path, gpu: str, libraries: str) -> str:
    if not gpu:
        return ""
    shapes = f"up to {asked.max_batch_size}"
    return str(engine_folder(asked.cache_path, path, gpu, libraries, asked.precision, shapes))


def _load_tensorrt() -> str:
    """Load TensorRT from its package, which the linker does not know of; return its version.

    Raises ``RuntimeError`` where there is none: onnxruntime would go on without it.
    """
    spec = find_spec("tensorrt_libs")
    folders = [*(spec.submodule_search_locations or ())] if spec else []
    try:
        library, _ = (_library(name, folders) for name in _TENSORRT_LIBRARIES)
        return str(library.getInferLibVersion())
    except (OSError, AttributeError) as error:
        raise RuntimeError(
            f'TensorRT 10 cannot be loaded ({error}): pip install "tensorrt-cu13-libs<11" '
            "--extra-index-url https://pypi.nvidia.com"
        ) from error


def _library(name: str, folders: list[str]) -> ctypes.CDLL:
    found = next((each for folder in folders if (each := Path(folder) / name).exists()), Path(name))
    return ctypes.CDLL(str(found), mode=ctypes.RTLD_GLOBAL)
