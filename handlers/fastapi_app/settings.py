"""Everything that can be set, read from ``SERVEBENCH_*`` and checked before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, FilePath, PositiveInt, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "SERVEBENCH_"


class SettingsError(Exception):
    """The environment does not describe a server that can run; the text is for its operator."""


class Settings(BaseSettings):
    """How the server runs; each field is the variable ``SERVEBENCH_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, protected_namespaces=())

    model_path: FilePath
    """The model file: ``.onnx`` (onnxruntime) or ``.pt`` (TorchScript)."""
    card_path: FilePath = Field(default=Path("card.json"), validate_default=False)
    """Preprocessing of the model; default: ``card.json`` beside the model file."""
    labels_path: FilePath = Field(default=Path("labels.json"), validate_default=False)
    """Class names; default: ``labels.json`` beside the model file."""
    model_name: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    """Its name in URLs and metrics; default: the card's name and the format."""
    model_format: Literal["", "onnx", "pytorch", "tensorrt"] = ""
    """``tensorrt``: the file is compiled for the GPU when the server starts; default: what the file is."""
    input_dtype: Literal["", "float32", "uint8"] = ""
    """What the model takes; default: what an onnx file says, and float32 of a TorchScript file."""

    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+(,\d+)*)?)$")
    """``cuda:0,1``: a copy of the model on each of these GPUs, which share the queue."""
    precision: Literal["fp32", "tf32", "fp16", "bf16", "int8"] = "fp32"
    """The arithmetic of TorchScript and of TensorRT; an onnx file else carries its own, but for tf32."""
    threads: PositiveInt = 2
    """Engine threads on a CPU."""
    graph_optimization: Literal["disabled", "basic", "extended", "all"] = "all"
    cpu_fallback: bool = False
    """Whether the CPU may stand in for a GPU that cannot be had."""
    io_binding: Literal["auto", "off", "cpu", "device"] = "auto"
    """onnxruntime's inputs and outputs are bound, and where the output is computed to; see `engine`."""

    max_batch_size: PositiveInt = 8
    max_queue_delay_ms: float = Field(default=50.0, ge=0, allow_inf_nan=False)
    """How long a request may be held to fill a batch; see `batcher`."""
    hold: Literal["expected", "always", "never"] = "expected"
    """When a batch that is not full is held; see `batcher`."""
    queue_size: PositiveInt = 100
    """Requests that may wait; one more is answered 503."""
    max_body_bytes: PositiveInt = 64 * 1024 * 1024
    decode_threads: PositiveInt = 2
    """Threads that decode images."""
    decoder: Literal["auto", "pillow", "nvjpeg"] = "pillow"
    """``nvjpeg``: JPEG is decoded on the first GPU, see `image_decoder`; auto: where that can be had."""

    cuda_arena_extend_strategy: Literal["kNextPowerOfTwo", "kSameAsRequested"] = "kNextPowerOfTwo"
    cuda_memory_limit_bytes: PositiveInt | None = None
    cuda_cudnn_conv_algo_search: Literal["auto", "EXHAUSTIVE", "HEURISTIC", "DEFAULT"] = "auto"
    """auto: by heuristic where batches differ in size; else each is searched for when it first comes."""
    cuda_do_copy_in_default_stream: bool = True
    cuda_prefer_nhwc: bool = False
    """onnxruntime turns convolutions to the layout that tensor cores read."""
    cuda_channels_last: bool = True
    """The same of a TorchScript model."""
    cuda_graphs: Literal["auto", "on", "off"] = "auto"
    """Which batch sizes have a captured CUDA graph; see `engine.graph_sizes`."""
    tensorrt_workspace_bytes: PositiveInt | None = None
    engine_cache_path: str = ""
    """Folder in which engines that TensorRT compiled are kept; default: in the user's cache folder."""

    @field_validator("model_path")
    @classmethod
    def _known_format(cls, path: Path) -> Path:
        if path.suffix not in {".onnx", ".pt"}:
            raise ValueError(f"{path.name} is neither .onnx nor .pt")
        return path

    @model_validator(mode="before")
    @classmethod
    def _beside_the_model(cls, values: Any) -> Any:
        """Look for card and labels beside the model file unless they are set."""
        if isinstance(values, dict) and "model_path" in values:
            folder = Path(str(values["model_path"])).parent
            values.setdefault("card_path", folder / "card.json")
            values.setdefault("labels_path", folder / "labels.json")
        return values

    @model_validator(mode="after")
    def _needs_cuda(self) -> Settings:
        on_cpu, is_onnx = self.device == "cpu", self.model_path.suffix == ".onnx"
        if on_cpu and (self.precision == "tf32" or (self.precision == "fp16" and not is_onnx)):
            raise ValueError(f"{PREFIX}PRECISION={self.precision} needs {PREFIX}DEVICE=cuda")
        if on_cpu and self.model_format == "tensorrt":
            raise ValueError(f"{PREFIX}MODEL_FORMAT=tensorrt needs {PREFIX}DEVICE=cuda")
        if on_cpu and self.decoder == "nvjpeg":
            raise ValueError(f"{PREFIX}DECODER=nvjpeg needs {PREFIX}DEVICE=cuda; pillow decodes on a CPU")
        return self

    @model_validator(mode="after")
    def _format_is_the_files(self) -> Settings:
        if self.model_format not in {"", "tensorrt", self._file_format}:
            seen = f"{self.model_path.name} is {self._file_format}"
            raise ValueError(f"{PREFIX}MODEL_FORMAT={self.model_format}, and {seen}")
        return self

    @property
    def format(self) -> str:
        """``onnx``, ``pytorch`` or ``tensorrt``."""
        return self.model_format or self._file_format

    @property
    def _file_format(self) -> str:
        return "onnx" if self.model_path.suffix == ".onnx" else "pytorch"

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices that compute, each with a copy of the model: ``cuda:0,1`` are two."""
        kind, _, indexes = self.device.partition(":")
        return tuple(f"{kind}:{index}" for index in indexes.split(",")) if "," in indexes else (self.device,)

    @property
    def device_index(self) -> int | None:
        """The GPU's index, the first one's of several, None on a CPU."""
        kind, _, index = self.devices[0].partition(":")
        return int(index or 0) if kind == "cuda" else None

    @field_validator("device")
    @classmethod
    def _each_once(cls, device: str) -> str:
        indexes = device.partition(":")[2].split(",")
        if len(set(indexes)) < len(indexes):
            raise ValueError(f"{device} names a GPU twice")
        return device

    @property
    def provider_options(self) -> dict[str, Any]:
        """Options of onnxruntime's CUDA provider."""
        options: dict[str, Any] = {
            "device_id": self.device_index or 0,
            "arena_extend_strategy": self.cuda_arena_extend_strategy,
            "do_copy_in_default_stream": self.cuda_do_copy_in_default_stream,
        }
        if self.cuda_cudnn_conv_algo_search != "auto":
            options["cudnn_conv_algo_search"] = self.cuda_cudnn_conv_algo_search
        if self.cuda_memory_limit_bytes is not None:
            options["gpu_mem_limit"] = self.cuda_memory_limit_bytes
        if self.cuda_prefer_nhwc:
            options["prefer_nhwc"] = 1
        return options


def read_settings() -> Settings:
    """Return the settings in the environment; raises `SettingsError` with every fault in it."""
    try:
        return Settings()  # type: ignore[call-arg]  # the environment gives them
    except ValidationError as error:
        raise SettingsError(_in_words(error)) from error


def _in_words(error: ValidationError) -> str:
    lines = ["the server's settings are wrong:"]
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        if not where:
            lines.append(f"  {fault['msg'].removeprefix('Value error, ')}")
        elif fault["type"] == "missing":
            lines.append(f"  {PREFIX}{where.upper()}: must be set")
        else:
            seen = json.dumps(str(fault["input"]))
            lines.append(f"  {PREFIX}{where.upper()}: {fault['msg']} (seen: {seen})")
    return "\n".join(lines)
