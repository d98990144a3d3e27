"""How NVIDIA's backends compute in a precision: by their model file, or by the server's environment. Pure.

fp16, bf16 and int8 are the file's: its graph casts what comes in and what goes out, so that the wire stays
fp32. TF32 is no file's: it is what CUDA's libraries do with fp32 unless ``NVIDIA_TF32_OVERRIDE=0`` forbids
it to the whole process. So a server serves either models in TF32 or models of other precisions.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_servebench.errors import ModelError
from pytest_servebench.plan import Artifact, Deployment, ModelFormat, Precision

TF32_OVERRIDE = "NVIDIA_TF32_OVERRIDE"
LIBTORCH_PRODUCTS = "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"
"""1 has libtorch form products in TF32 too: of itself it allows TF32 to convolutions alone."""
_ANY = "ieee"


def launch_group(deployment: Deployment) -> str:
    """Return what deployments that one server can serve have in common.

    A plan is built for one batch setting, so each has a server of its own, as have models in TF32.
    """
    arithmetic = str(Precision.TF32) if deployment.precision is Precision.TF32 else _ANY
    if deployment.format is not ModelFormat.TENSORRT:
        return arithmetic
    return f"{deployment.served_name}-b{deployment.max_batch_size}-{arithmetic}"


def environment_of(deployments: Sequence[Deployment]) -> dict[str, str]:
    """Return what keeps TF32 out of a server whose models on a GPU are of other precisions, or lets it in.

    Where it is allowed the libraries use it by default, and every value but 0 is reserved; libtorch asks them
    not to for products.
    """
    on_gpu = [each for each in deployments if each.device.kind == "cuda"]
    if any(each.precision is Precision.TF32 for each in on_gpu):
        return {LIBTORCH_PRODUCTS: "1"}
    return {TF32_OVERRIDE: "0"} if on_gpu else {}


def refuse_other_precision(deployment: Deployment, artifact: Artifact) -> None:
    """Raise `ModelError` for a file of other arithmetic than the deployment's: its backend runs it as it is.

    The onnxruntime and the PyTorch backend cast nothing: they have no option for it.
    """
    asked, held = deployment.precision, artifact.precision
    ieee = {Precision.FP32, Precision.TF32}
    if held is asked or {asked, held} <= ieee:
        return
    raise ModelError(
        f"Triton's {deployment.format} backend cannot serve {deployment.served_name} in {asked}",
        where=str(artifact.path),
        seen=f"a file in {held}, which that backend runs as it is",
        next_step=f"give a model file whose graph computes in {asked} and takes and returns fp32;"
        " or ask for another with --serve-dtype",
    )
