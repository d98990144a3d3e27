"""Derives the configurations that a server is given from the shipped ones. Pure: text to text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from pytest_servebench.plan import Deployment, ModelFormat
from pytest_servebench.shipped import shipped

ModelConfig: TypeAlias = Any
"""Triton's protobuf of that name; protobuf's classes carry no types."""

_THREADS = {ModelFormat.ONNX: "intra_op_thread_count", ModelFormat.PYTORCH: "INTRA_OP_THREAD_COUNT"}
"""By which parameter a backend is told how many threads it has on a CPU."""

MODEL = "resnet50"
"""The model whose shipped configurations every other model's are derived from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedNames:
    """The three models that serve one deployment, by their names on Triton's wire."""

    model: str
    preprocess: str
    jpeg: str

    @classmethod
    def of(cls, deployment: Deployment) -> ServedNames:
        """Return the names of ``deployment``."""
        name = deployment.served_name
        return cls(model=name, preprocess=f"{name}_preprocess", jpeg=f"{name}_jpeg")


def derived_configs(deployment: Deployment) -> dict[str, ModelConfig]:
    """Return the configurations that serve ``deployment`` by the Python backend alone.

    They are keyed by model name, in the order to load them. Each is whole, because Triton
    takes a configuration given at load instead of the file's, never on top of it.
    """
    return _configs(deployment, _python_config(deployment))


def native_configs(deployment: Deployment) -> dict[str, ModelConfig]:
    """Return those that serve it by the backend of its format, as NVIDIA's image has it.

    The shipped ones under another batch setting and on another device: nothing else differs.
    """
    return _configs(deployment, _native_config(deployment))


def _configs(deployment: Deployment, model: ModelConfig) -> dict[str, ModelConfig]:
    names = ServedNames.of(deployment)
    return {
        names.model: model,
        names.preprocess: _preprocess_config(deployment),
        names.jpeg: _ensemble_config(deployment),
    }


def config_text(config: ModelConfig) -> str:
    """Return ``config`` as the text of a ``config.pbtxt``."""
    from google.protobuf import text_format

    return str(text_format.MessageToString(config))


def config_json(config: ModelConfig) -> str:
    """Return ``config`` as the JSON that Triton's load request takes."""
    from google.protobuf import json_format

    return str(json_format.MessageToJson(config, preserving_proto_field_name=True, indent=None))


def preferred_batch_sizes(shipped_sizes: tuple[int, ...], max_batch_size: int) -> tuple[int, ...]:
    """Return the batch sizes to form under a cap: the shipped ones below it, and the cap itself.

    Triton sends the largest preferred batch it can form, so a cap that is not
    preferred would hardly be reached. Empty for a cap of one: nothing to form.
    """
    if max_batch_size == 1:
        return ()
    return (*(size for size in shipped_sizes if size < max_batch_size), max_batch_size)


def _native_config(deployment: Deployment) -> ModelConfig:
    config = _shipped_config(f"{MODEL}_{deployment.format}")
    config.name = deployment.served_name
    config.max_batch_size = deployment.max_batch_size
    _place(config, deployment)
    _batch(config, deployment)
    _keep_warmup(config, deployment.max_batch_size)
    threads = _THREADS.get(deployment.format)
    if deployment.device.kind == "cpu" and threads is not None:
        config.parameters[threads].string_value = str(deployment.threads)
    return config


def _python_config(deployment: Deployment) -> ModelConfig:
    config = _native_config(deployment)
    config.backend = "python"
    # What the container's own backends are told does not concern the Python one.
    for other in ("platform", "optimization", "parameters"):
        config.ClearField(other)
    config.parameters["threads"].string_value = str(deployment.threads)
    config.parameters["precision"].string_value = str(deployment.precision)
    return config


def _preprocess_config(deployment: Deployment) -> ModelConfig:
    config = _shipped_config(f"{MODEL}_preprocess")
    config.name = ServedNames.of(deployment).preprocess
    config.max_batch_size = deployment.max_batch_size
    # One process with threads: on one machine more of them only cost memory.
    config.instance_group[0].count = 1
    config.parameters["threads"].string_value = str(deployment.threads)
    if deployment.max_batch_size == 1:
        config.ClearField("dynamic_batching")
    return config


def _ensemble_config(deployment: Deployment) -> ModelConfig:
    names = ServedNames.of(deployment)
    config = _shipped_config(f"{MODEL}_{deployment.format}_jpeg")
    config.name = names.jpeg
    config.max_batch_size = deployment.max_batch_size
    preprocess, model = config.ensemble_scheduling.step
    preprocess.model_name = names.preprocess
    model.model_name = names.model
    return config


def _place(config: ModelConfig, deployment: Deployment) -> None:
    (group,) = config.instance_group
    if deployment.device.kind == "cpu":
        # Each instance would have threads of its own and fight the others for the cores.
        group.kind, group.count = group.KIND_CPU, 1
    else:
        group.gpus.append(deployment.device.index)


def _batch(config: ModelConfig, deployment: Deployment) -> None:
    batching = config.dynamic_batching
    sizes = preferred_batch_sizes(tuple(batching.preferred_batch_size), deployment.max_batch_size)
    if not sizes:
        config.ClearField("dynamic_batching")
        return
    batching.preferred_batch_size[:] = sizes
    batching.max_queue_delay_microseconds = round(deployment.max_queue_delay_ms * 1000)


def _keep_warmup(config: ModelConfig, max_batch_size: int) -> None:
    kept = [warmup for warmup in config.model_warmup if warmup.batch_size <= max_batch_size]
    config.ClearField("model_warmup")
    config.model_warmup.extend(kept)


def _shipped_config(name: str) -> ModelConfig:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    text = (shipped("model_repository") / name / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())
