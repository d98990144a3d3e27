"""How NVIDIA's image builds the TensorRT plan that it serves, by the ``trtexec`` that it carries. Pure.

That it lies there is what Triton's own tests rely on: ``qa/L0_perf_resnet/test.sh`` of its repository builds
its ResNet50 by this path in an image made of the server's, whose ``Dockerfile.QA`` adds no TensorRT. No page
of NVIDIA's says so, hence another image can be named for it.

A plan is for one GPU, one TensorRT, one precision and one profile of batches, so it is built where it is
served. Its batches reach from 1 to the deployment's cap, and it is tuned for the cap.
"""

from __future__ import annotations

from pytest_servebench.containers import ContainerImage, Preparation
from pytest_servebench.errors import ModelError
from pytest_servebench.held import LAYERS, NO_TF32
from pytest_servebench.plan import Artifact, Deployment, ModelFormat, Precision
from pytest_servebench.stacks.images import TENSORRT_IMAGE
from pytest_servebench.stacks.triton_precision import environment_of
from pytest_servebench.stacks.triton_repository import native_configs

TRTEXEC = "/usr/src/tensorrt/bin/trtexec"
PLAN = "model.plan"
TIMINGS = "timing.cache"
_LOWERED = {
    Precision.FP32: (NO_TF32,),
    Precision.TF32: (),
    Precision.FP16: ("--fp16", NO_TF32),
    Precision.BF16: ("--bf16", NO_TF32),
}
"""What makes of a file in fp32 a plan in another precision, where the builder finds it faster."""
_LAYERS_TOLD = (
    "--profilingVerbosity=detailed",
    f"--exportLayerInfo=${{made}}/{LAYERS}",
    *("--duration=0", "--warmUp=0"),
)
"""What has TensorRT say in which types the very plan computes. Where nothing is inferred, trtexec asks
without an execution context, which leaves out the formats of tensors whose batch is not fixed; so a few
batches are computed, of which no figure is kept. NvInferRuntime.h says of such a plan that to enqueue it
takes longer in general (`setNvtxVerbosity`); what CUDA graphs replay is not enqueued: one image, and every
preferred batch. The same plan built again without it may have other types (``ITimingCache``)."""
_REMEDY = (
    f"read its log; an image of your own needs {TRTEXEC} of TensorRT 10, as NVIDIA's has;"
    " or leave tensorrt out: --serve-format=onnx,pytorch"
)
_ELSEWHERE = (
    f"name an image that has it, with the TensorRT of the server's: --serve-plan-image={TENSORRT_IMAGE};"
    " or leave tensorrt out: --serve-format=onnx,pytorch"
)


def plan_preparation(
    deployment: Deployment, artifact: Artifact, image: ContainerImage, *, entrypoint: bool
) -> Preparation | None:
    """Return how ``model.plan`` is built from the artifact's ONNX file; None: the artifact is a plan already.

    Raises `ModelError` for a file that cannot become one in the deployment's precision.
    """
    if artifact.path.suffix == ".plan":
        return None
    if artifact.path.suffix != ".onnx":
        raise _no_source(deployment, artifact)
    return Preparation(
        name=deployment.served_name,
        image=image,
        argv=(
            TRTEXEC,
            f"--onnx=${{source}}/{artifact.path.name.replace('$', '$$')}",
            f"--saveEngine=${{made}}/{PLAN}",
            *_shapes(deployment),
            *precision_flags(deployment, artifact),
            f"--timingCacheFile=${{made}}/{TIMINGS}",
            *_LAYERS_TOLD,
        ),
        source=artifact.path,
        source_sha256=artifact.sha256,
        product=PLAN,
        settings={
            "precision": str(deployment.precision),
            "input_dtype": str(deployment.input_dtype),
            "max_batch_size": str(deployment.max_batch_size),
        },
        kept=(TIMINGS,),
        environment=environment_of([deployment]),
        image_entrypoint=entrypoint,
        next_step=_REMEDY,
        next_step_without_tool=_ELSEWHERE,
    )


def _no_source(deployment: Deployment, artifact: Artifact) -> ModelError:
    return ModelError(
        f"no TensorRT plan can be built for {deployment.served_name}",
        where=str(artifact.path),
        seen=f"a {artifact.path.suffix} file",
        next_step="give a model.onnx, or a model.plan that this GPU and this TensorRT built",
    )


def precision_flags(deployment: Deployment, artifact: Artifact) -> tuple[str, ...]:
    """Return what has the plan compute in the deployment's precision; raises `ModelError` where it cannot.

    A file that holds the precision in its own types is compiled with those, no other. One in fp32 lets the
    builder choose, layer by layer, between fp32 and the precision asked for: deprecated since TensorRT
    10.12, and gone in 11, where files of the precision do the same.
    """
    asked, held = deployment.precision, artifact.precision
    if held is asked and held is not Precision.FP32:
        return ("--stronglyTyped", NO_TF32)
    if held is not Precision.FP32 or asked not in _LOWERED:
        raise ModelError(
            f"no TensorRT plan in {asked} can be built for {deployment.served_name}",
            where=str(artifact.path),
            seen=f"a file in {held}",
            next_step=f"give a model.onnx in {asked}, or ask for another with --serve-dtype",
        )
    return _LOWERED[asked]


def refuse_unbuilt(deployment: Deployment, artifact: Artifact) -> None:
    """Raise `ModelError` for a tensorrt deployment whose plan nobody has built."""
    if deployment.format is ModelFormat.TENSORRT and artifact.path.suffix != ".plan":
        raise ModelError(
            f"the TensorRT plan of {deployment.served_name} was not built before its launch",
            where=str(artifact.path),
            seen="a server that is kept up builds none",
            next_step="run it in a session (pytest --serve-launcher=docker --serve-format=tensorrt),"
            " or serve onnx",
        )


def _shapes(deployment: Deployment) -> tuple[str, ...]:
    (tensor,) = native_configs(deployment)[deployment.served_name].input
    cap, dims = deployment.max_batch_size, "x".join(map(str, tensor.dims))
    return tuple(
        f"--{edge}Shapes={tensor.name}:{size}x{dims}"
        for edge, size in (("min", 1), ("opt", cap), ("max", cap))
    )
