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

    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?)$")
    precision: Literal["fp32", "fp16"] = "fp32"
    """``fp16``: autocast of a TorchScript model on CUDA; an onnx file carries its own precision."""
    threads: PositiveInt = 2
    """Engine threads on a CPU."""
    graph_optimization: Literal["disabled", "basic", "extended", "all"] = "all"
    cpu_fallback: bool = False
    """Whether the CPU may stand in for a GPU that cannot be had."""

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

    cuda_arena_extend_strategy: Literal["kNextPowerOfTwo", "kSameAsRequested"] = "kNextPowerOfTwo"
    cuda_memory_limit_bytes: PositiveInt | None = None
    cuda_cudnn_conv_algo_search: Literal["EXHAUSTIVE", "HEURISTIC", "DEFAULT"] = "EXHAUSTIVE"
    cuda_do_copy_in_default_stream: bool = True

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
    def _half_precision_needs_cuda(self) -> Settings:
        if self.precision == "fp16" and self.device == "cpu":
            raise ValueError(f"{PREFIX}PRECISION=fp16 needs {PREFIX}DEVICE=cuda")
        return self

    @property
    def format(self) -> str:
        """``onnx`` or ``pytorch``."""
        return "onnx" if self.model_path.suffix == ".onnx" else "pytorch"

    @property
    def device_index(self) -> int | None:
        """The GPU's index, None on a CPU."""
        kind, _, index = self.device.partition(":")
        return int(index or 0) if kind == "cuda" else None

    @property
    def provider_options(self) -> dict[str, Any]:
        """Options of onnxruntime's CUDA provider."""
        options: dict[str, Any] = {
            "device_id": self.device_index or 0,
            "arena_extend_strategy": self.cuda_arena_extend_strategy,
            "cudnn_conv_algo_search": self.cuda_cudnn_conv_algo_search,
            "do_copy_in_default_stream": self.cuda_do_copy_in_default_stream,
        }
        if self.cuda_memory_limit_bytes is not None:
            options["gpu_mem_limit"] = self.cuda_memory_limit_bytes
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
