"""Derives the configurations that a server is given from the shipped ones. Pure: text to text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from pytest_servebench.folders.shipped import shipped
from pytest_servebench.plan import Decoder, Deployment, InputDtype, ModelFormat

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
        # Beside the others: a server may be asked for both, and they take different requests.
        by = "_dali" if deployment.decoder is Decoder.DALI else ""
        return cls(model=name, preprocess=f"{name}_preprocess{by}", jpeg=f"{name}_jpeg{by}")


def model_names(deployment: Deployment) -> tuple[str, ...]:
    """Return the names of the models that serve ``deployment``, in the order to load them.

    Encoded images become what a model of float32 takes; one of pixels has no ensemble for them.
    """
    names = ServedNames.of(deployment)
    if deployment.input_dtype is InputDtype.UINT8:
        return (names.model,)
    return names.model, names.preprocess, names.jpeg


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
    if names.jpeg not in model_names(deployment):
        return {names.model: model}
    return {
        names.model: model,
        names.preprocess: (
            _dali_config(deployment) if deployment.decoder is Decoder.DALI else _preprocess_config(deployment)
        ),
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
    _take(config, deployment.input_dtype)
    if config.optimization.cuda.graphs:
        _capture(config)
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
    if deployment.decoder is not Decoder.PILLOW:
        # The process itself stays on the CPU's side of Triton: what it decodes on a GPU it copies back.
        config.parameters["decoder"].string_value = str(deployment.decoder)
        config.parameters["device"].string_value = f"cuda:{deployment.device.index}"
    if deployment.max_batch_size == 1:
        config.ClearField("dynamic_batching")
    return config


def _dali_config(deployment: Deployment) -> ModelConfig:
    """Return the pipeline's configuration: one instance on each GPU, as DALI's backend advises."""
    config = _shipped_config(f"{MODEL}_preprocess_dali")
    config.name = ServedNames.of(deployment).preprocess
    config.max_batch_size = deployment.max_batch_size
    config.parameters["num_threads"].string_value = str(deployment.threads)
    _place(config, deployment)
    if deployment.max_batch_size == 1:
        config.ClearField("dynamic_batching")
    return config


def _ensemble_config(deployment: Deployment) -> ModelConfig:
    names = ServedNames.of(deployment)
    config = _shipped_config(f"{MODEL}_{deployment.format}_jpeg")
    config.name = names.jpeg
    if deployment.decoder is Decoder.DALI:
        config.ClearField("input")
        config.input.extend(_shipped_config(f"{MODEL}_{ModelFormat.ONNX}_jpeg_dali").input)
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
        # So many on each of them.
        group.gpus.extend(deployment.device.indexes)


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


def _take(config: ModelConfig, dtype: InputDtype) -> None:
    """Have the model take numbers of this type; the shipped one takes float32."""
    if dtype is InputDtype.FLOAT32:
        return
    (tensor,) = config.input
    tensor.data_type = _data_type("TYPE_UINT8")
    for warmup in config.model_warmup:
        warmup.inputs[tensor.name].data_type = tensor.data_type


def _data_type(name: str) -> int:
    from tritonclient.grpc import model_config_pb2

    return int(model_config_pb2.DataType.Value(name))


def _capture(config: ModelConfig) -> None:
    """Have a CUDA graph captured for each batch size that is preferred under the cap, and for one image.

    A batch of another size runs without: a graph that is larger than its batch computes what nobody asked.
    """
    sizes = (1, *config.dynamic_batching.preferred_batch_size)
    del config.optimization.cuda.graph_spec[:]
    for size in sizes:
        config.optimization.cuda.graph_spec.add(batch_size=size)


def _shipped_config(name: str) -> ModelConfig:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    text = (shipped("model_repository") / name / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())
