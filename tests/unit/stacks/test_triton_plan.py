"""How a TensorRT plan is built, and what of a precision a server of NVIDIA's backends is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.containers import ContainerImage, ImageChoice, Preparation
from pytest_servebench.errors import ModelError
from pytest_servebench.interfaces import CastingNothing, LaunchGrouping, Preparing
from pytest_servebench.plan import CPU, Artifact, Deployment, Device, InputDtype, ModelFormat, Precision
from pytest_servebench.stacks import images
from pytest_servebench.stacks.triton import Triton
from pytest_servebench.stacks.triton_container import TritonContainer, triton_in_container
from tests.unit.stacks.unopened import unopened_artifact

GPU = Device("cuda", 3)
NVIDIA = TritonContainer(image=images.triton_image(ImageChoice()), native=True)
TRTEXEC = "/usr/src/tensorrt/bin/trtexec"


def deployment(model_format: ModelFormat = ModelFormat.TENSORRT, **changes: Any) -> Deployment:
    """Return ResNet50 on a GPU."""
    return replace(Deployment(stack="triton", model="resnet50", format=model_format, device=GPU), **changes)


def onnx(held: Precision = Precision.FP32, folder: Path = Path("/models")) -> Artifact:
    """Return an ONNX file that holds a precision."""
    made = unopened_artifact(folder, deployment(ModelFormat.ONNX))
    return replace(made, precision=held, sha256="abc")


def preparation(of: Deployment, held: Precision = Precision.FP32) -> Preparation:
    """Return how the plan of a deployment is built."""
    made = NVIDIA.preparation(of, onnx(held))
    assert made is not None
    return made


def test_the_container_says_what_has_to_be_made() -> None:
    """The shapes the pool relies on, checked by mypy; a local process has neither."""
    grouping: LaunchGrouping = NVIDIA
    preparing: Preparing = NVIDIA
    assert grouping.launch_group(deployment())
    assert preparing.preparation(deployment(), onnx())
    assert not hasattr(Triton(), "preparation")
    casting: CastingNothing = NVIDIA
    assert casting.casts_nothing
    assert not replace(NVIDIA, native=False).casts_nothing


def test_another_image_builds_plans_where_it_is_named() -> None:
    """It only builds: what serves stays what it was; without one, NVIDIA's of the same month is told."""
    choice = ImageChoice(plan_image="trt:1")
    stack = triton_in_container(choice, GPU)
    assert isinstance(stack, TritonContainer)
    assert stack.image == NVIDIA.image
    made = stack.preparation(deployment(), onnx())
    assert made is not None
    assert (made.image, made.image_entrypoint) == (ContainerImage(name="trt:1"), True)
    own = preparation(deployment())
    assert f"--serve-plan-image={images.TENSORRT_IMAGE}" in own.next_step_without_tool
    assert images.TENSORRT_IMAGE.partition(":")[2] == images.TRITON_BASE.partition(":")[2]


def test_a_plan_is_built_by_the_image_that_serves_it() -> None:
    """Its own trtexec, from the ONNX file, with a profile from one image to the cap, tuned for the cap."""
    made = preparation(deployment(max_batch_size=32))
    assert made.image == NVIDIA.image
    assert made.argv == (
        TRTEXEC,
        "--onnx=${source}/model.onnx",
        "--saveEngine=${made}/model.plan",
        "--minShapes=input:1x3x224x224",
        "--optShapes=input:32x3x224x224",
        "--maxShapes=input:32x3x224x224",
        "--noTF32",
        "--timingCacheFile=${made}/timing.cache",
        "--profilingVerbosity=detailed",
        "--exportLayerInfo=${made}/layers.json",
        "--duration=0",
        "--warmUp=0",
    )
    assert (made.source, made.source_sha256) == (Path("/models/model.onnx"), "abc")
    assert (made.product, made.kept) == ("model.plan", ("timing.cache",))
    assert made.image_entrypoint
    assert TRTEXEC in made.next_step


@pytest.mark.parametrize(
    ("asked", "held", "flags"),
    [
        (Precision.FP32, Precision.FP32, ["--noTF32"]),
        (Precision.TF32, Precision.FP32, []),
        (Precision.FP16, Precision.FP32, ["--fp16", "--noTF32"]),
        (Precision.BF16, Precision.FP32, ["--bf16", "--noTF32"]),
        (Precision.FP16, Precision.FP16, ["--stronglyTyped", "--noTF32"]),
        (Precision.INT8, Precision.INT8, ["--stronglyTyped", "--noTF32"]),
    ],
)
def test_precision_is_the_files_or_the_builders(asked: Precision, held: Precision, flags: list[str]) -> None:
    """A file of the precision is compiled with its own types; one in fp32 is lowered by the builder."""
    of_precision = {"--noTF32", "--fp16", "--bf16", "--int8", "--stronglyTyped"}
    made = preparation(deployment(precision=asked), held)
    assert [word for word in made.argv if word in of_precision] == flags
    assert made.settings["precision"] == str(asked)


@pytest.mark.parametrize(
    ("asked", "held"),
    [(Precision.INT8, Precision.FP32), (Precision.FP32, Precision.FP16), (Precision.FP16, Precision.INT8)],
)
def test_a_file_that_cannot_become_the_precision_is_refused(asked: Precision, held: Precision) -> None:
    """Nothing is quantised without calibration, and what was rounded away does not come back."""
    with pytest.raises(ModelError, match=f"no TensorRT plan in {asked}") as caught:
        preparation(deployment(precision=asked), held)
    assert caught.value.seen == f"a file in {held}"
    assert "--serve-dtype" in caught.value.next_step


def test_what_shapes_a_plan_is_told_apart() -> None:
    """Batch cap, precision, input and model each make another plan."""
    told = [
        (made.settings, made.source_sha256, made.argv)
        for made in (
            preparation(deployment()),
            preparation(deployment(max_batch_size=1)),
            preparation(deployment(precision=Precision.FP16)),
            preparation(deployment(input_dtype=InputDtype.UINT8)),
        )
    ]
    assert all(one != other for i, one in enumerate(told) for other in told[:i])


def test_a_plan_is_served_as_it_is() -> None:
    """A user's own is not built again; what is neither a plan nor ONNX is refused."""
    assert NVIDIA.preparation(deployment(), replace(onnx(), path=Path("/models/model.plan"))) is None
    with pytest.raises(ModelError, match="no TensorRT plan can be built") as caught:
        NVIDIA.preparation(deployment(), replace(onnx(), path=Path("/models/model.pt")))
    assert caught.value.next_step.startswith("give a model.onnx")


def test_a_launch_without_the_plan_says_so() -> None:
    """A server that is kept up (servebench up) runs no preparation: it is told before Triton tells it."""
    with pytest.raises(ModelError, match="plan of resnet50_tensorrt was not built") as caught:
        NVIDIA.launch_spec([deployment()], {"resnet50_tensorrt": onnx()})
    assert "--serve-format=tensorrt" in caught.value.next_step
    plan = replace(onnx(), path=Path("/kept/model.plan"))
    spec = NVIDIA.launch_spec([deployment()], {"resnet50_tensorrt": plan})
    files = {file.path: file.source for file in spec.files}
    assert files["repository/resnet50_tensorrt/1/model.plan"] == plan.path


def test_other_formats_need_nothing_made() -> None:
    """Their files are served as they are, also in TF32, whose file is that of fp32."""
    for model_format in (ModelFormat.ONNX, ModelFormat.PYTORCH):
        for asked in (Precision.FP32, Precision.TF32):
            assert NVIDIA.preparation(deployment(model_format, precision=asked), onnx()) is None
    assert (
        NVIDIA.preparation(deployment(ModelFormat.ONNX, precision=Precision.INT8), onnx(Precision.INT8))
        is None
    )


@pytest.mark.parametrize("model_format", [ModelFormat.ONNX, ModelFormat.PYTORCH])
@pytest.mark.parametrize("asked", [Precision.FP16, Precision.BF16, Precision.INT8])
def test_a_backend_that_casts_nothing_refuses_another_file(
    model_format: ModelFormat, asked: Precision
) -> None:
    """A case called fp16 that computed in fp32 would tell nothing of fp16."""
    with pytest.raises(ModelError, match=f"{model_format} backend cannot serve .* in {asked}") as caught:
        NVIDIA.preparation(deployment(model_format, precision=asked), onnx())
    assert "runs as it is" in caught.value.seen
    assert "graph computes in" in caught.value.next_step


def test_the_python_backend_is_given_what_it_is_asked() -> None:
    """Its engine casts by itself: nothing is refused, made or told to the whole server."""
    wheel = triton_in_container(ImageChoice(), CPU)
    assert isinstance(wheel, TritonContainer)
    served = deployment(ModelFormat.PYTORCH, precision=Precision.FP16)
    assert wheel.preparation(served, onnx()) is None
    assert wheel.launch_group(served) == wheel.launch_group(replace(served, precision=Precision.TF32)) == ""
    spec = wheel.launch_spec([served], {served.served_name: onnx()})
    assert "NVIDIA_TF32_OVERRIDE" not in spec.environment


@pytest.mark.parametrize(
    ("precisions", "device", "told"),
    [
        ([Precision.FP32], GPU, {"NVIDIA_TF32_OVERRIDE": "0"}),
        ([Precision.FP32, Precision.FP16, Precision.INT8], GPU, {"NVIDIA_TF32_OVERRIDE": "0"}),
        ([Precision.TF32], GPU, {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"}),
        ([Precision.FP32], CPU, {}),
    ],
)
def test_tf32_is_forbidden_where_nobody_asked_for_it(
    precisions: list[Precision], device: Device, told: dict[str, str]
) -> None:
    """fp32 is IEEE also on a GPU; libtorch alone has to be asked for TF32, for products."""
    served = [deployment(ModelFormat.ONNX, precision=each, device=device) for each in precisions]
    spec = NVIDIA.launch_spec(served, {each.served_name: onnx() for each in served})
    assert {key: value for key, value in spec.environment.items() if "TF32" in key} == told


def test_models_in_tf32_have_a_server_of_their_own() -> None:
    """The switch is the whole process's; other precisions share a server."""
    groups = {each: NVIDIA.launch_group(deployment(ModelFormat.ONNX, precision=each)) for each in Precision}
    others = {group for each, group in groups.items() if each is not Precision.TF32}
    assert len(others) == 1
    assert groups[Precision.TF32] not in others


def test_every_plan_has_a_server_of_its_own() -> None:
    """One file lies in a model's folder, and a plan is built for one batch setting."""
    served = [
        deployment(max_batch_size=size, precision=each)
        for size in (1, 32)
        for each in (Precision.FP32, Precision.FP16)
    ]
    groups = {NVIDIA.launch_group(each) for each in (*served, deployment(ModelFormat.ONNX))}
    assert len(groups) == len(served) + 1


def test_no_image_is_named_but_the_servers() -> None:
    """A user's image builds its own plans: its TensorRT reads no other's."""
    mine = triton_in_container(ImageChoice(reference="mine/triton:7"), GPU)
    assert isinstance(mine, TritonContainer)
    made = mine.preparation(deployment(), onnx())
    assert made is not None
    assert made.image == ContainerImage(name="mine/triton:7")
