"""Compiles a TorchScript file for one GPU by Torch-TensorRT, once, and keeps what came of it.

A guest. The TorchScript frontend of Torch-TensorRT, ``ir="ts"``: what is served is TorchScript still.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine import EngineOptions
from gpu_identity import engine_folder, gpu_identity

_PACKAGE = "torch_tensorrt"
_DTYPES = {"fp32": "float32", "tf32": "float32", "fp16": "float16"}
"""Its enumeration for TorchScript has no bfloat16 (``dtype`` in its ``torch_tensorrt_py.cpp``)."""
_REMEDY = "pip install --upgrade torch-tensorrt --extra-index-url https://pypi.nvidia.com"


def compiled_file(path: Path, asked: EngineOptions) -> Path:
    """Return the compiled TorchScript of ``path``, from the cache or made now, which takes a minute or more.

    It must be loaded with Torch-TensorRT imported, which this does. Raises ``RuntimeError`` where that is not
    installed, or has no part for TorchScript.
    """
    if find_spec(_PACKAGE) is None:
        raise RuntimeError(f"tensorrt for a .pt file needs Torch-TensorRT, which is not installed: {_REMEDY}")
    if asked.precision not in _DTYPES:
        raise RuntimeError(
            f"Torch-TensorRT compiles TorchScript for {', '.join(_DTYPES)}, not {asked.precision}"
        )
    torch, compiler = import_module("torch"), import_module(_PACKAGE)
    if not compiler.ENABLED_FEATURES.torchscript_frontend:
        raise RuntimeError(f"Torch-TensorRT {compiler.__version__} has no part for TorchScript: {_REMEDY}")
    assert asked.gpu is not None
    libraries = f"torch {torch.__version__}, {_PACKAGE} {compiler.__version__}"
    shapes = f"up to {asked.max_batch_size} of {asked.image_shape} {fed_dtype(asked)}"
    folder = engine_folder(
        asked.cache_path, path, gpu_identity(asked.gpu), libraries, asked.precision, shapes
    )
    kept = folder / "model.ts"
    if not kept.exists():
        # Another server may do the same: whole or not there.
        making = folder / f"model.{os.getpid()}.ts"
        torch.jit.save(_compiled(torch, compiler, path, asked), str(making))
        making.replace(kept)
    return kept


def fed_dtype(asked: EngineOptions) -> str:
    """Return what a compiled file takes, by torch's name: its weights' type, or float32 for pixels.

    TorchScript's part of Torch-TensorRT knows no uint8. A file for pixels turns them into float32 at once
    and normalises them there, so that it may as well be given them so.
    """
    return _DTYPES[asked.precision] if asked.input_dtype != "uint8" else "float32"


def _compiled(torch: Any, compiler: Any, path: Path, asked: EngineOptions) -> Any:
    try:
        with torch.cuda.device(asked.gpu):
            return _compile(torch, compiler, path, asked)
    except Exception as error:
        # It raises what it likes; TorchServe's worker tells nothing of what is no RuntimeError.
        raise RuntimeError(
            f"Torch-TensorRT {compiler.__version__} did not compile {path.name} "
            f"for {asked.precision}: {type(error).__name__}: {error}"
        ) from error


def _compile(torch: Any, compiler: Any, path: Path, asked: EngineOptions) -> Any:
    module = torch.jit.load(str(path), map_location=asked.device).eval()
    dtype = getattr(torch, _DTYPES[asked.precision])
    if asked.precision == "fp16":
        # From TensorRT 11 on (Torch-TensorRT 2.13) types are the network's alone: a file in fp32 that is
        # merely allowed fp16 is computed in fp32.
        module = module.half()
    shape, most = asked.image_shape, asked.max_batch_size
    image = compiler.Input(
        min_shape=(1, *shape),
        opt_shape=(most, *shape),
        max_shape=(most, *shape),
        dtype=getattr(torch, fed_dtype(asked)),
    )
    return compiler.compile(
        module,
        ir="ts",
        inputs=[image],
        # fp32 beside the half: layers that have no kernel in it.
        enabled_precisions={torch.float32, dtype},
        disable_tf32=asked.precision != "tf32",
        workspace_size=asked.tensorrt_workspace_bytes or 0,
        device=compiler.Device(gpu_id=asked.gpu),
    )
