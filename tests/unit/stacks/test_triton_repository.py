"""The local repository is derived from the container's, and says what was asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format, text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from pytest_servebench.folders.shipped import shipped
from pytest_servebench.plan import Artifact, Decoder, Deployment, Device, InputDtype, ModelFormat, Precision
from pytest_servebench.stacks.triton_files import native_repository
from pytest_servebench.stacks.triton_repository import (
    config_json,
    config_text,
    derived_configs,
    model_names,
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
    config = json.loads(config_json(derived_configs(deployment)["tiny_onnx_fp16"]))
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
    """Name, batching, device, instances, warm-up, graphs and a CPU's threads differ from the shipped one."""
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
    for each in (model, shipped_one):
        for field in [*adapted, *(["parameters"] if index is None else [])]:
            each.ClearField(field)
        if model_format is ModelFormat.TENSORRT:
            each.optimization.cuda.ClearField("graph_spec")
    assert model == shipped_one


@given(cap=st.integers(1, 64))
def test_a_graph_is_captured_for_one_image_and_each_preferred_batch(cap: int) -> None:
    """No graph is larger than the cap, none is captured twice, and only TensorRT's backend has any."""
    model = native_configs(_deployment(format=ModelFormat.TENSORRT, max_batch_size=cap))["tiny_tensorrt"]
    sizes = [spec.batch_size for spec in model.optimization.cuda.graph_spec]
    assert sizes == sorted({1, *model.dynamic_batching.preferred_batch_size})
    assert sizes[-1] == cap
    assert not any(spec.HasField("graph_lower_bound") for spec in model.optimization.cuda.graph_spec)


def test_shipped_graphs_are_those_of_the_warm_up() -> None:
    """What is captured has run before the model is called ready."""
    config = _shipped("resnet50_tensorrt")
    graphs = [spec.batch_size for spec in config.optimization.cuda.graph_spec]
    assert graphs == [warmup.batch_size for warmup in config.model_warmup]


@pytest.mark.parametrize("configs", [native_configs, derived_configs])
@pytest.mark.parametrize("model_format", sorted(ModelFormat))
def test_a_model_of_pixels_takes_bytes_and_has_no_ensemble(configs: Any, model_format: ModelFormat) -> None:
    """Input and warm-up are uint8; what encoded images become is float32, which it does not take."""
    deployment = _deployment(format=model_format, input_dtype=InputDtype.UINT8)
    made = configs(deployment)
    assert list(made) == [f"tiny_{model_format}_uint8"] == list(model_names(deployment))
    (config,) = made.values()
    types = [tensor.data_type for tensor in config.input]
    types += [warmup.inputs["input"].data_type for warmup in config.model_warmup]
    assert set(types) == {model_config_pb2.TYPE_UINT8}
    assert [tensor.data_type for tensor in config.output] == [model_config_pb2.TYPE_FP32]


@pytest.mark.parametrize("configs", [native_configs, derived_configs])
def test_instances_run_on_every_gpu(configs: Any) -> None:
    """The count is per GPU: two on each of three."""
    deployment = _deployment(device=Device("cuda", 0, (2, 5)))
    (group,) = configs(deployment)["tiny_onnx"].instance_group
    assert (group.kind, group.count, list(group.gpus)) == (group.KIND_GPU, 2, [0, 2, 5])


@given(model_format=st.sampled_from(sorted(ModelFormat)))
def test_what_is_loaded_is_what_lies_in_the_repository(model_format: ModelFormat) -> None:
    """The override that a load request carries is, read back, the configuration in the file."""
    for config in native_configs(_deployment(format=model_format)).values():
        read = json_format.Parse(config_json(config), model_config_pb2.ModelConfig())
        assert read == _parsed(config_text(config))


def test_nvjpeg_is_asked_of_the_preprocessing_where_it_may_be() -> None:
    """It has no GPU of Triton's, so it is told which one; with Pillow it is told what it ever was."""
    gpu = Device("cuda", 2)
    for decoder in (Decoder.AUTO, Decoder.NVJPEG):
        config = derived_configs(_deployment(device=gpu, decoder=decoder))["tiny_onnx_preprocess"]
        told = {key: value.string_value for key, value in config.parameters.items()}
        assert told == {"threads": "2", "decoder": str(decoder), "device": "cuda:2"}
    plain = derived_configs(_deployment(device=gpu))["tiny_onnx_preprocess"]
    assert set(plain.parameters) == {"threads"}


@pytest.mark.parametrize("model_format", [*LOCAL, ModelFormat.TENSORRT])
def test_dali_decodes_in_an_ensemble_of_its_own(model_format: ModelFormat) -> None:
    """Triton's own protobuf reads what is sent: bytes in, one pipeline on every GPU, the model's logits."""
    deployment = _deployment(
        format=model_format, device=Device("cuda", 0, (1,)), decoder=Decoder.DALI, max_batch_size=8, threads=3
    )
    model, dali, ensemble = (_parsed(config_text(one)) for one in native_configs(deployment).values())
    assert (dali.name, ensemble.name) == (f"{model.name}_preprocess_dali", f"{model.name}_jpeg_dali")
    assert model_names(deployment) == (model.name, dali.name, ensemble.name)
    assert (dali.backend, ensemble.platform) == ("dali", "ensemble")
    assert [(g.kind, g.count, list(g.gpus)) for g in dali.instance_group] == [
        (model_config_pb2.ModelInstanceGroup.KIND_GPU, 1, [0, 1])
    ]
    assert dali.parameters["num_threads"].string_value == "3"
    assert model.max_batch_size == dali.max_batch_size == ensemble.max_batch_size == 8
    assert [(t.name, t.data_type, list(t.dims)) for t in ensemble.input] == [
        ("image", model_config_pb2.TYPE_UINT8, [-1])
    ]
    assert dali.input[0].allow_ragged_batch, "requests of one batch differ in length"
    first, second = ensemble.ensemble_scheduling.step
    assert (first.model_name, second.model_name) == (dali.name, model.name)
    assert dict(first.output_map)["pixels"] == dict(second.input_map)["input"]
    assert (list(dali.output[0].dims), dali.output[0].data_type) == (
        list(model.input[0].dims),
        model.input[0].data_type,
    )


def test_one_image_is_no_batch_for_dali_either() -> None:
    """A cap of one has nothing to wait for."""
    on_gpu = _deployment(device=Device("cuda"), decoder=Decoder.DALI)
    assert native_configs(on_gpu)["tiny_onnx_preprocess_dali"].HasField("dynamic_batching")
    alone = native_configs(replace(on_gpu, max_batch_size=1))["tiny_onnx_preprocess_dali"]
    assert not alone.HasField("dynamic_batching")


def test_both_decoders_fit_into_one_repository() -> None:
    """The model lies there once, each preprocessing in a folder of its own, DALI's as Python to serialise."""
    on_gpu = _deployment(device=Device("cuda"))
    both = [on_gpu, replace(on_gpu, decoder=Decoder.DALI)]
    artifact = Artifact(
        model="tiny",
        format=ModelFormat.ONNX,
        path=Path("/models/model.onnx"),
        card_path=Path("/models/card.json"),
        labels_path=Path("/models/labels.json"),
        sha256="",
        weights="",
    )
    files = native_repository(both, {"tiny_onnx": artifact})
    assert len({file.path for file in files}) == len(files)
    found = {file.path.removeprefix("repository/"): file.source for file in files}
    guests = shipped("handlers")
    assert found["tiny_onnx/1/model.onnx"] == artifact.path
    assert found["tiny_onnx_preprocess_dali/1/dali.py"] == guests / "triton_backend" / "dali_preprocess.py"
    assert found["tiny_onnx_preprocess_dali/1/card.json"] == artifact.card_path
    assert found["tiny_onnx_preprocess/1/image_decoder.py"] == guests / "image_decoder.py"
    assert "tiny_onnx_preprocess_dali/1/model.py" not in found
    folders = {path.partition("/")[0] for path in found}
    assert {"tiny_onnx_jpeg", "tiny_onnx_jpeg_dali"} < folders
