"""What keeps a local Triton off the GPUs that it does not compute on. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_servebench.plan import Deployment

MOST_GPUS = 16
"""Of one machine: that many there are in the largest that NVIDIA sells."""


def own_gpus_flags(deployments: Sequence[Deployment]) -> tuple[str, ...]:
    """Return the server's flags; none for a server that computes on a CPU, which sees no GPU at all.

    Left alone it keeps 64 MB on every GPU that it sees and opens them to each other, and its pinned memory
    takes a context on the first (``server.cc``, ``cuda_utils.cc`` and ``pinned_memory_manager.cc`` of its
    core): whoever measures another stack there finds the GPU shared. The Python backend needs none of it for
    other GPUs than the model's: each instance is a process of its own, and its tensors come by the CPU.
    """
    own = _own(deployments)
    if not own:
        return ()
    others = [index for index in range(MOST_GPUS) if index not in own]
    return (
        "--enable-peer-access=false",
        *(f"--cuda-memory-pool-byte-size={index}:0" for index in others),
        *(("--pinned-memory-pool-byte-size=0",) if 0 in others else ()),
    )


def own_gpus_environment(deployments: Sequence[Deployment]) -> dict[str, str]:
    """Return what hides all GPUs from a server on a CPU: no flag keeps it off the first one."""
    return {} if _own(deployments) else {"CUDA_VISIBLE_DEVICES": ""}


def _own(deployments: Sequence[Deployment]) -> set[int]:
    return {index for one in deployments if one.device.kind == "cuda" for index in one.device.indexes}
