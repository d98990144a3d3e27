"""The local repository is derived from the container's, and says what was asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format, text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from pytest_servebench.plan import Deployment, Device, ModelFormat, Precision
from pytest_servebench.shipped import shipped
from pytest_servebench.stacks.triton_repository import (
    config_json,
    config_text,
    derived_configs,
    native_configs,
    preferred_batch_sizes,
)

LOCAL = (ModelFormat.ONNX, ModelFormat.PYTORCH)
PLATFORMS = {"onnx": "onnxruntime_onnx", "pytorch": "pytorch_libtorch", "tensorrt": "tensorrt_plan"}


def _deployment(**changes: Any) -> Deployment:
    return Deployment(**{"stack": "triton", "model": "tiny", "format": ModelFormat.ONNX, **changes})


def _parsed(text: str) -> Any:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def _shipped(name: str) -> Any:
    return _parsed((shipped("model_repository") / name / "config.pbtxt").read_text(encoding="utf-8"))


@pytest.mark.parametrize("model_format", sorted(PLATFORMS))
def test_container_serves_each_format_as_the_reference_says(model_format: str) -> None:
    """Batch up to 32, preferred 4/8/16/32, two instances per GPU, warm-up, the agreed tensors."""
    config = _shipped(f"resnet50_{model_format}")
    assert config.name == f"resnet50_{model_format}"
    assert config.platform == PLATFORMS[model_format]
    assert config.max_batch_size == 32
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8, 16, 32]
    assert [(g.count, g.kind) for g in config.instance_group] == [(2, config.instance_group[0].KIND_GPU)]
    assert [(t.name, list(t.dims)) for t in config.input] == [("input", [3, 224, 224])]
    assert [(t.name, list(t.dims)) for t in config.output] == [("output", [1000])]
    assert [w.batch_size for w in config.model_warmup] == [1, 4, 8, 16, 32]


def test_container_queue_delay_leaves_room_for_the_target() -> None:
    """A wait for batches must stay well under the 5 ms that the reference's p50 is."""
    delays = [_shipped(f"resnet50_{f}").dynamic_batching.max_queue_delay_microseconds for f in PLATFORMS]
    assert all(0 < delay <= 1000 for delay in delays)


def test_only_the_tensorrt_model_uses_cuda_graphs() -> None:
    """Graphs are asked for where the backend can capture one per batch size."""
    assert [f for f in sorted(PLATFORMS) if _shipped(f"resnet50_{f}").optimization.cuda.graphs] == [
        "tensorrt"
    ]


def test_version_folders_say_whose_file_goes_there_and_hold_no_model() -> None:
    """Model files never go into git, and Triton wants every version folder."""
    for config in shipped("model_repository").glob("*/config.pbtxt"):
        assert [path.name for path in (config.parent / "1").iterdir()] == ["README.md"]


@given(cap=st.integers(1, 256), sizes=st.sets(st.integers(1, 64)))
def test_preferred_batches_stay_under_the_cap_and_reach_it(cap: int, sizes: set[int]) -> None:
    """Preferred sizes rise strictly, never exceed the cap, and end with it; a cap of one has none."""
    preferred = preferred_batch_sizes(tuple(sorted(sizes)), cap)
    assert list(preferred) == sorted(set(preferred))
    assert preferred == () if cap == 1 else preferred[-1] == cap


@given(cap=st.integers(1, 64), delay_ms=st.floats(0, 100), model_format=st.sampled_from(LOCAL))
def test_derived_configs_hold_the_batch_setting(cap: int, delay_ms: float, model_format: ModelFormat) -> None:
    """All three models are capped alike, and no warm-up is larger than the cap."""
    deployment = _deployment(format=model_format, max_batch_size=cap, max_queue_delay_ms=delay_ms)
    configs = derived_configs(deployment)
    assert {config.max_batch_size for config in configs.values()} == {cap}
    model = configs[deployment.served_name]
    assert all(warmup.batch_size <= cap for warmup in model.model_warmup)
    assert model.HasField("dynamic_batching") == (cap > 1)
    if cap > 1:
        assert model.dynamic_batching.max_queue_delay_microseconds == round(delay_ms * 1000)


def test_text_and_json_say_the_same() -> None:
    """The file and the load request carry one configuration."""
    from google.protobuf import json_format

    for config in derived_configs(_deployment()).values():
        assert _parsed(config_text(config)) == config
        assert json_format.Parse(config_json(config), model_config_pb2.ModelConfig()) == config


def test_model_runs_in_the_python_backend_on_the_cpu() -> None:
    """On a CPU: one instance, the engine's threads as parameter, nothing of the GPU backends left."""
    config = json.loads(config_json(derived_configs(_deployment(threads=3))["tiny_onnx"]))
    assert config["backend"] == "python"
    assert "platform" not in config
    assert "optimization" not in config
    assert config["instance_group"] == [{"count": 1, "kind": "KIND_CPU"}]
    assert config["parameters"] == {
        "threads": {"string_value": "3"},
        "precision": {"string_value": "fp32"},
    }


def test_model_keeps_two_instances_on_its_gpu() -> None:
    """On a GPU the shipped instance count stays and the device is the one asked for."""
    deployment = _deployment(device=Device("cuda", 1), precision=Precision.FP16)
    config = json.loads(config_json(derived_configs(deployment)["tiny_onnx"]))
    assert config["instance_group"] == [{"count": 2, "kind": "KIND_GPU", "gpus": [1]}]
    assert config["parameters"]["precision"] == {"string_value": "fp16"}


def test_ensemble_joins_the_two_models_of_its_own_deployment() -> None:
    """Each deployment has its own preprocessing, so that unloading one leaves the others whole."""
    configs = derived_configs(_deployment(format=ModelFormat.PYTORCH))
    assert list(configs) == ["tiny_pytorch", "tiny_pytorch_preprocess", "tiny_pytorch_jpeg"]
    steps = configs["tiny_pytorch_jpeg"].ensemble_scheduling.step
    assert [step.model_name for step in steps] == ["tiny_pytorch_preprocess", "tiny_pytorch"]
    assert [config.name for config in configs.values()] == list(configs)


@given(
    cap=st.integers(1, 64),
    delay_ms=st.floats(0, 100),
    model_format=st.sampled_from(sorted(ModelFormat)),
    index=st.one_of(st.none(), st.integers(0, 7)),
)
def test_the_containers_own_backends_get_the_shipped_configuration(
    cap: int, delay_ms: float, model_format: ModelFormat, index: int | None
) -> None:
    """Only name, batch setting, device, instances, warm-up and a CPU's threads differ from the shipped one."""
    device = Device("cpu") if index is None else Device("cuda", index)
    deployment = _deployment(
        format=model_format, max_batch_size=cap, max_queue_delay_ms=delay_ms, device=device, threads=3
    )
    model = native_configs(deployment)[f"tiny_{model_format}"]
    shipped_one = _shipped(f"resnet50_{model_format}")
    assert _parsed(config_text(model)) == model
    assert model.backend == shipped_one.backend
    assert all(warmup.batch_size <= cap for warmup in model.model_warmup)
    (group,) = model.instance_group
    if index is None:
        assert (group.kind, group.count, list(group.gpus)) == (group.KIND_CPU, 1, [])
        threads = {name.lower(): value.string_value for name, value in model.parameters.items()}
        assert model_format is ModelFormat.TENSORRT or threads["intra_op_thread_count"] == "3"
    else:
        assert (group.kind, group.count, list(group.gpus)) == (group.KIND_GPU, 2, [index])
    adapted = ["name", "max_batch_size", "dynamic_batching", "instance_group", "model_warmup"]
    for field in [*adapted, *(["parameters"] if index is None else [])]:
        model.ClearField(field)
        shipped_one.ClearField(field)
    assert model == shipped_one


@given(model_format=st.sampled_from(sorted(ModelFormat)))
def test_what_is_loaded_is_what_lies_in_the_repository(model_format: ModelFormat) -> None:
    """The override that a load request carries is, read back, the configuration in the file."""
    for config in native_configs(_deployment(format=model_format)).values():
        read = json_format.Parse(config_json(config), model_config_pb2.ModelConfig())
        assert read == _parsed(config_text(config))
