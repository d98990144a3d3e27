"""How a local server counts GPUs: as the rest of the house does."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_servebench.plan import Deployment


def gpu_order(deployments: Sequence[Deployment]) -> dict[str, str]:
    """Return what makes CUDA count GPUs by their slots, as NVML does; left alone, the fastest is its first.

    ``cuda:1`` then is the GPU that is leased and watched. A server that computes on none is told nothing.
    """
    on_gpu = any(deployment.device.kind == "cuda" for deployment in deployments)
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if on_gpu else {}
