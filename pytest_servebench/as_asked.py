"""Whether a server computes where and as it was asked to, by what it says of itself (pure).

What it does not say is neither right nor wrong. An attached server was placed by somebody else: a device
or a precision that nobody named is not one that was asked of it, so a difference is only a warning.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_servebench.plan import Decoder, Deployment, Device, LauncherKind, ModelFormat, Precision
from pytest_servebench.results import Served

CPU_PROVIDER = "CPUExecutionProvider"
SMALL_SHARE = 0.05
"""Of a graph's nodes, that belong on the CPU: they compute shapes, which is not worth a GPU's while."""


def not_as_asked(asked: Deployment, served: Served, launcher: str = LauncherKind.PROCESS) -> tuple[str, ...]:
    """Return a sentence for each way in which the server computes elsewhere, or otherwise, than it was asked.

    ``launcher`` says who placed it: a container counts the GPUs that it is given from 0.
    """
    attached = launcher == LauncherKind.ATTACH
    found = []
    if not attached or asked.device.kind != "cpu":
        found += list(_elsewhere(asked.device, served, launcher))
    if asked.format is ModelFormat.TENSORRT and not found:
        found += list(_by_another_engine(served))
    if not attached or asked.precision is not Precision.FP32:
        found += list(_otherwise(asked.precision, served))
    found += list(_decoded_otherwise(asked.decoder, served))
    return tuple(found)


def warnings_of(asked: Deployment, served: Served, launcher: str = LauncherKind.PROCESS) -> tuple[str, ...]:
    """Return a sentence for each thing that is no fault and may cost speed, or that nobody has named."""
    found = [*_left_on_the_cpu(asked.device, served), *_not_seen(asked.device, served, launcher)]
    if launcher == LauncherKind.ATTACH and asked.device.kind == "cpu":
        found += [f"{one}: --serve-device names it" for one in _elsewhere(asked.device, served, launcher)]
    if launcher == LauncherKind.ATTACH and asked.precision is Precision.FP32:
        found += [f"{one}: --serve-dtype names it" for one in _otherwise(asked.precision, served)]
    return tuple(found)


def _elsewhere(asked: Device, served: Served, launcher: str) -> Iterator[str]:
    """Yield one sentence at most: by the provider, else by where most nodes are, else by the device."""
    begin = f"asked for {asked}, but {_engine(served)} computes"
    provider, most = served.provider or "", _most_nodes(served)
    if (_kind_of(provider) or asked.kind) != asked.kind:
        yield f"{begin} on {provider}"
    elif most and (_kind_of(most) or asked.kind) != asked.kind:
        yield f"{begin} {served.nodes[most]} of {sum(served.nodes.values())} nodes on {most}"
    elif served.device and not _is_of(served.device, asked, launcher):
        yield f"{begin} on {served.device}"
    elif served.one_of == 1 and launcher != LauncherKind.ATTACH:
        missing = _missing(asked, served, launcher)
        if missing:
            yield f"{begin} on {served.device} alone, not on {missing}"


def _by_another_engine(served: Served) -> Iterator[str]:
    if served.provider and not _is_tensorrt(served.provider):
        yield f"asked for tensorrt, but {_engine(served)} computes by {served.provider}"


def _otherwise(asked: Precision, served: Served) -> Iterator[str]:
    if served.precision and served.precision != asked:
        yield f"asked for {asked}, but {_engine(served)} computes in {served.precision}"


def _decoded_otherwise(asked: Decoder, served: Served) -> Iterator[str]:
    """Yield what decodes in place of the decoder asked for; Pillow is also what nobody asked for."""
    used = served.options.get("decoder", "")
    if asked not in (Decoder.AUTO, Decoder.PILLOW) and used and used != asked:
        yield f"asked for JPEG to be decoded by {asked}, but {_engine(served)} decodes by {used}"


def _left_on_the_cpu(asked: Device, served: Served) -> Iterator[str]:
    """Yield how many nodes the CPU computes of a graph that is the GPU's."""
    on_cpu, whole = served.nodes.get(CPU_PROVIDER, 0), sum(served.nodes.values())
    if asked.kind == "cpu" or _most_nodes(served) == CPU_PROVIDER:
        return
    if on_cpu > SMALL_SHARE * whole:
        yield (
            f"{on_cpu} of {whole} nodes of the graph are computed on {CPU_PROVIDER}: "
            "what they read and write moves between the GPU and the CPU"
        )


def _not_seen(asked: Device, served: Served, launcher: str) -> Iterator[str]:
    """Yield which of several GPUs nobody spoke for: one worker of many told, or an attached server.

    An address may be shared by several servers, each of which tells of itself.
    """
    missing = _missing(asked, served, launcher)
    if missing and served.one_of > 1:
        yield (
            f"one of its {served.one_of} workers was asked, which computes on {served.device}: "
            f"nothing says that the others compute on {missing}"
        )
    elif missing and launcher == LauncherKind.ATTACH:
        yield f"asked for {asked}, but {_engine(served)} says that it computes on {served.device} alone"


def _missing(asked: Device, served: Served, launcher: str) -> str:
    """Return those of several GPUs that a server does not name, as they were asked for; empty: none known.

    A container and somebody else's server count for themselves: there the first so many are taken as named.
    """
    kind, counted = _counted(served.device or "")
    if kind != asked.kind or not counted:
        return ""
    if launcher == LauncherKind.PROCESS:
        missing = [index for index in asked.indexes if index not in counted]
    elif launcher == LauncherKind.DOCKER:
        missing = [index for place, index in enumerate(asked.indexes) if place not in counted]
    else:
        missing = list(asked.indexes[len(counted) :])
    return f"{kind}:{','.join(map(str, missing))}" if missing else ""


def _most_nodes(served: Served) -> str:
    """Return the provider of most nodes; empty where they are not known.

    Those that a provider compiles into one are counted as the model has them, so that numbers are alike:
    onnxruntime's ``OrtEpAssignedSubgraph`` lists each.
    """
    return max(served.nodes, key=lambda provider: served.nodes[provider], default="")


def _kind_of(provider: str) -> str | None:
    """Return the kind of device that a provider computes on; None for one that may be on any."""
    if provider.lower().startswith("cpu"):
        return "cpu"
    return "cuda" if provider.lower().startswith("cuda") or _is_tensorrt(provider) else None


def _is_tensorrt(provider: str) -> bool:
    """Return whether it is TensorRT, by whichever library: onnxruntime has two providers, torch one."""
    return "tensorrt" in provider.lower()


def _is_of(device: str, asked: Device, launcher: str) -> bool:
    """Return whether ``device``, as a server counts, is of what was asked for."""
    kind, counted = _counted(device)
    if kind != asked.kind:
        return False
    if launcher == LauncherKind.ATTACH:
        return True
    inside = launcher == LauncherKind.DOCKER
    return counted <= set(range(len(asked.indexes)) if inside else asked.indexes)


def _counted(device: str) -> tuple[str, set[int]]:
    """Return the kind and the numbers of ``cuda:0,1``; no number where none is said."""
    kind, _, text = device.partition(":")
    return kind, {int(one) for one in text.split(",") if one.strip().isdigit()}


def _engine(served: Served) -> str:
    return served.engine or "its engine"
