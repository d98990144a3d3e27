"""What Triton says of a loaded model: by its log for the Python backend, by its configuration for others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.results import Served
from pytest_servebench.samples import Reply
from pytest_servebench.stacks.triton_served import requests, served

MODEL = "tiny_onnx"
FACTS = {"engine": "onnxruntime 1.31.1", "provider": "CPUExecutionProvider", "device": "cpu"}
ON_CPU = Served(**FACTS)  # type: ignore[arg-type]
LOADING = f'I1123 14:46:22.727579 4451 model_lifecycle.cc:472] "loading: {MODEL}:1"'


def line(facts: object = FACTS, model: str = MODEL) -> str:
    """Return the guest's line as the log of Triton 2.51 has it: quoted, as JSON quotes a text."""
    said = f"servebench serves {model}: {json.dumps(facts)}"
    return f"I1123 14:46:27.306560 4451 model.py:42] {json.dumps(said)}"


def asked(config: dict[str, Any], log: str = "", version: str = "2.59.0") -> Served:
    """Return what a Triton says whose model has this configuration."""
    bodies = (config, {"name": "triton", "version": version})
    return served(MODEL, [Reply(200, {}, json.dumps(body).encode()) for body in bodies], log)


def python(log: str) -> Served:
    """Return what one says whose Python backend serves."""
    return asked({"backend": "python", "instance_group": [{"kind": "KIND_CPU", "count": 1}]}, log)


def on_gpu(*gpus: int, **more: Any) -> dict[str, Any]:
    """Return the configuration of a model on these GPUs, as Triton has completed it."""
    return {"instance_group": [{"kind": "KIND_GPU", "count": 2, "gpus": list(gpus)}], **more}


def test_the_configuration_and_the_servers_version_are_asked_for() -> None:
    """Two requests without a body."""
    assert [(one.method, one.path) for one in requests(MODEL)] == [
        ("GET", f"/v2/models/{MODEL}/config"),
        ("GET", "/v2"),
    ]


def test_what_decodes_is_asked_for_where_it_may_be_another() -> None:
    """By the configuration of the model that does."""
    assert [one.path for one in requests(MODEL, f"{MODEL}_jpeg")][2:] == [f"/v2/models/{MODEL}_jpeg/config"]


def decoding(backend: str, log: str) -> Served:
    """Return what a Triton on a GPU says whose images this backend decodes."""
    bodies = (on_gpu(0, backend="onnxruntime"), {"version": "2.59.0"}, {"backend": backend})
    return served(MODEL, [Reply(200, {}, json.dumps(body).encode()) for body in bodies], log, "decodes")


def test_dali_is_known_by_its_backend_and_others_by_what_they_log() -> None:
    """It is one of the options, beside those of the model; where nobody says it, it is none."""
    both = {"instances": "2", "decoder": "dali"}
    assert decoding("dali", "").options == both
    assert decoding("dali", line({"decoder": "pillow"}, "decodes")).options == both
    assert decoding("python", line({"decoder": "nvjpeg"}, "decodes")).options == {**both, "decoder": "nvjpeg"}
    assert decoding("python", line({"decoder": "pillow"}, "other")).options == {"instances": "2"}
    assert decoding("python", "").options == {"instances": "2"}


@pytest.mark.parametrize("end", ["", '"', '"\n\n', "\x1b[0m"])
def test_the_python_backend_says_it_in_the_log(end: str) -> None:
    """Whatever Triton puts around the line."""
    assert python(f"{LOADING}\nservebench serves {MODEL}: {json.dumps(FACTS)}{end}\nmore") == ON_CPU
    assert python(f"{LOADING}\n{line()}\nI1123 ready") == ON_CPU


def test_only_the_last_load_counts() -> None:
    """A model that was loaded before, on another device, has said what is no longer so."""
    before = {**FACTS, "device": "cuda:0", "provider": "CUDAExecutionProvider"}
    assert python("\n".join((LOADING, line(before), LOADING, line()))) == ON_CPU


def test_each_model_speaks_for_itself() -> None:
    """A name that begins alike is another model's; one that has not spoken is not known."""
    log = "\n".join((LOADING, line({"engine": "other"}, f"{MODEL}_fp16"), line({"engine": "other"}, "tiny")))
    assert python(log) == Served(absent=f"the log has no line 'servebench serves {MODEL}: ...'")
    assert python(f"{log}\n{line()}") == ON_CPU


def test_instances_on_several_gpus_are_told_together() -> None:
    """Each has a line of its own; on one GPU they say the same."""
    lines = [line({**FACTS, "device": f"cuda:{gpu}"}) for gpu in (10, 0, 1, 0)]
    assert python("\n".join((LOADING, *lines))).device == "cuda:0,1,10"


def test_instances_on_different_kinds_are_not_made_one() -> None:
    """Both are said, so that what was asked for does not match."""
    lines = [line({**FACTS, "device": device}) for device in ("cuda:0", "cpu")]
    assert python("\n".join((LOADING, *lines))).device == "cpu, cuda:0"


def test_a_log_that_is_not_ours_is_a_reason() -> None:
    """Of an attached Triton with the Python backend nothing is known."""
    assert python("").absent == "Triton's Python backend says it in its log, which is not ours to read"


@pytest.mark.parametrize("text", ["", "no json", "[1]", "{}", '{"engine": 3}', '{"engine": "x'])
def test_a_line_that_cannot_be_read_says_nothing(text: str) -> None:
    """It is no reason to fail, and no fact either."""
    assert python(f"{LOADING}\nservebench serves {MODEL}: {text}").absent


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            on_gpu(0, backend="onnxruntime", platform="onnxruntime_onnx"),
            Served(
                engine="Triton 2.59.0 onnxruntime backend",
                provider="CUDAExecutionProvider",
                device="cuda:0",
                options={"instances": "2"},
            ),
        ),
        (
            {"platform": "onnxruntime_onnx", "instance_group": [{"kind": "KIND_CPU", "count": 1}]},
            Served(
                engine="Triton 2.59.0 onnxruntime backend",
                provider="CPUExecutionProvider",
                device="cpu",
                options={"instances": "1"},
            ),
        ),
        (
            on_gpu(
                *(0, 1),
                backend="onnxruntime",
                optimization={
                    "execution_accelerators": {
                        "gpu_execution_accelerator": [
                            {"name": "tensorrt", "parameters": {"precision_mode": "FP16"}}
                        ]
                    }
                },
            ),
            Served(
                engine="Triton 2.59.0 onnxruntime backend",
                provider="TensorrtExecutionProvider",
                device="cuda:0,1",
                precision="fp16",
                options={"instances": "2"},
            ),
        ),
        (
            on_gpu(0, backend="tensorrt", optimization={"cuda": {"graphs": True}}),
            Served(
                engine="Triton 2.59.0 tensorrt backend",
                provider="TensorRT",
                device="cuda:0",
                options={"instances": "2", "cuda_graphs": "on"},
            ),
        ),
        (
            on_gpu(0, backend="pytorch"),
            Served(
                engine="Triton 2.59.0 pytorch backend",
                provider="libtorch",
                device="cuda:0",
                options={"instances": "2"},
            ),
        ),
    ],
    ids=["cuda", "cpu", "accelerated", "plan", "libtorch"],
)
def test_other_backends_are_told_by_the_loaded_configuration(config: Any, expected: Served) -> None:
    """Backend, device, accelerator and CUDA graphs; the precision of a file is not known to Triton."""
    assert asked(config) == expected


def test_an_accelerator_does_nothing_on_a_cpu() -> None:
    """The GPU's accelerators are for instances on a GPU alone."""
    optimization = {"execution_accelerators": {"gpu_execution_accelerator": [{"name": "tensorrt"}]}}
    config = {
        "backend": "onnxruntime",
        "instance_group": [{"kind": "KIND_CPU"}],
        "optimization": optimization,
    }
    assert asked(config).provider == "CPUExecutionProvider"


def test_where_triton_leaves_it_to_the_model_no_device_is_known() -> None:
    """``KIND_MODEL`` says nothing of a device, and instances on both kinds none that is one."""
    for groups in ([{"kind": "KIND_MODEL"}], [{"kind": "KIND_CPU"}, {"kind": "KIND_GPU"}], []):
        assert asked({"backend": "onnxruntime", "instance_group": groups}).device is None


@given(st.text(), st.dictionaries(st.text(), st.text() | st.integers()))
def test_any_log_is_read_to_its_last_line(noise: str, more: dict[str, Any]) -> None:
    """What stands before the model's load does not matter."""
    facts = {**more, **FACTS, "nodes": None, "options": None}
    assert python("\n".join((noise, LOADING, line(facts)))) == ON_CPU
