"""What the engine is asked for: one container, from a launch spec and settings (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pytest_servebench.containers import (
    WORKDIR,
    Container,
    ContainerFacts,
    ContainerSettings,
    Ipc,
    Network,
    Preparation,
)
from pytest_servebench.launchers.workdir import Placeholders
from pytest_servebench.plan import CPU, Device, LaunchSpec

FIRST_PORT = 8000
"""Inside a container on the bridge network; the i-th role of a spec has the i-th port from here."""
ANY = "0.0.0.0"  # noqa: S104 (inside a container, whose ports are published on one address)
IMAGE_USER = "image"
NOBODY_IN_PARTICULAR = "1000:1000"
"""Whom a server runs as that root launches: images of servers mostly have this user."""
NO_GPU = "void"
"""For the NVIDIA runtime: an image that asks for all GPUs is given none, nor the driver."""
_NUMERIC = re.compile(r"([0-9]+)(?::([0-9]+))?")
_ROOT_NEEDS_NOT = ["AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP", "SYS_CHROOT"]
"""Dropped from a server that its image runs as root: none serves or opens a file with them."""
_TEMPORARY = "/tmp"  # noqa: S108 (of a container, where it lies in memory)
_LOG_CONFIG = {"Type": "json-file", "Config": {"max-size": "64m", "max-file": "2"}}
"""Said for every container: an engine may keep logs where they cannot be followed, or without bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRequest:
    """One container, as the engine is asked for it."""

    name: str
    container: Mapping[str, Any]
    """Keyword arguments of the SDK's ``create_container``."""
    host: Mapping[str, Any]
    """Keyword arguments of the SDK's ``create_host_config``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surround:
    """What of a container is the same for every server of a launcher."""

    settings: ContainerSettings
    device: Device = CPU
    part: str = ""
    """UUID of the part of its GPU (MIG) that it is given alone; empty: all of it."""
    host: str
    """The address of this machine at which its ports are reached."""
    user: str
    """As `container_user` has it."""
    labels: Mapping[str, str]
    cpu_set: str = ""


def container_user(settings: ContainerSettings, uid: int, gid: int) -> str:
    """Return whom a container runs as when user ``uid`` launches it; empty: whom its image names."""
    if settings.user == IMAGE_USER:
        return ""
    return settings.user or (f"{uid}:{gid}" if uid else NOBODY_IN_PARTICULAR)


def inner_ports(spec: LaunchSpec, settings: ContainerSettings, free: Mapping[str, int]) -> dict[str, int]:
    """Return where the server listens, by role: on ``free`` ports where it shares this machine's network."""
    if settings.network is Network.HOST:
        return dict(free)
    return {role: FIRST_PORT + i for i, role in enumerate(spec.port_roles)}


def inside(settings: ContainerSettings, host: str, ports: Mapping[str, int]) -> Placeholders:
    """Return what the ``${...}`` of a spec stand for inside a container that listens on ``ports``."""
    return Placeholders.of(Path(WORKDIR), host if settings.network is Network.HOST else ANY, ports)


def container_request(
    spec: LaunchSpec, surround: Surround, *, name: str, image_id: str, ports: Mapping[str, int], workdir: Path
) -> ContainerRequest:
    """Return the container of ``spec``, whose server listens on ``ports`` (of `inner_ports`)."""
    assert spec.container is not None
    fill = inside(surround.settings, surround.host, ports).fill
    published = {} if surround.settings.network is Network.HOST else ports
    return ContainerRequest(
        name=name,
        container={
            "image": image_id,
            "name": name,
            **_program([fill(word) for word in spec.argv], spec.container),
            "environment": _environment({k: fill(v) for k, v in spec.environment.items()}, surround.device),
            "user": surround.user or None,
            "working_dir": WORKDIR,
            "labels": dict(surround.labels),
            "ports": sorted(published.values()),
            # An image's own check would run beside the load.
            "healthcheck": {"test": ["NONE"]},
        },
        host={
            **_reach(surround, published),
            **_rights(surround.user),
            **_shares(surround),
            "mounts": [_bound(workdir, WORKDIR, read_only=True)],
            "tmpfs": {path: _tmpfs_options(surround.user) for path in scratch_paths(spec.container)},
            "device_requests": gpu_requests(surround.device, surround.part),
            "init": surround.settings.init,
            "log_config": _LOG_CONFIG,
        },
    )


def preparation_request(
    preparation: Preparation, surround: Surround, *, name: str, image_id: str, user: str, folder: Path
) -> ContainerRequest:
    """Return the container that makes a file in ``folder``, as ``user``, on the GPU of a server to come.

    It sees the source's folder, read-only, and no network.
    """
    places = {"source": f"{WORKDIR}/source", "made": f"{WORKDIR}/made"}
    fill = Placeholders(places).fill
    environment = {key: fill(value) for key, value in preparation.environment.items()}
    argv, whole = [fill(word) for word in preparation.argv], preparation.image_entrypoint
    return ContainerRequest(
        name=name,
        container={
            "image": image_id,
            "name": name,
            **({"command": argv} if whole else {"entrypoint": argv[:1], "command": argv[1:]}),
            "environment": _environment({**environment, "HOME": _TEMPORARY}, surround.device),
            "user": user,
            "working_dir": places["made"],
            "labels": dict(surround.labels),
            "healthcheck": {"test": ["NONE"]},
        },
        host={
            "network_mode": "none",
            **_rights(user),
            **_shares(surround),
            "mounts": [
                _bound(preparation.source.parent.resolve(), places["source"], read_only=True),
                _bound(folder, places["made"], read_only=False),
            ],
            "tmpfs": {_TEMPORARY: _tmpfs_options(user)},
            "device_requests": gpu_requests(surround.device, surround.part),
            "init": surround.settings.init,
            "log_config": _LOG_CONFIG,
        },
    )


def scratch_paths(container: Container) -> tuple[str, ...]:
    """Return the folders that a server may write to, as it sees them."""
    return tuple(str(PurePosixPath(WORKDIR) / path) for path in container.scratch)


def private_scratch(container: Container) -> tuple[str, ...]:
    """Return those of them that lie in the private folder, relative to it; there they have to be made."""
    folders = (PurePosixPath(path) for path in scratch_paths(container))
    return tuple(str(one.relative_to(WORKDIR)) for one in folders if one.is_relative_to(WORKDIR))


def published_ports(seen: Mapping[str, Any], inner: Mapping[str, int]) -> dict[str, int]:
    """Return at which ports of this machine ``inner`` are reached, by role, from what `docker inspect` shows.

    Roles whose port is not published are absent; all are where the network is this machine's.
    """
    if seen["HostConfig"]["NetworkMode"] == Network.HOST:
        return dict(inner)
    shown = seen["NetworkSettings"]["Ports"] or {}
    found = {role: shown.get(f"{port}/tcp") for role, port in inner.items()}
    return {role: int(bindings[0]["HostPort"]) for role, bindings in found.items() if bindings}


def gpu_requests(device: Device, part: str = "") -> list[dict[str, Any]]:
    """Return what gives a container the GPUs of ``device``, or a ``part`` of one, and no other.

    Nothing for a CPU. By the number of a GPU that is split a container would be given all of its parts.
    """
    if device.kind != "cuda":
        return []
    ids = [part] if part else [str(index) for index in device.indexes]
    return [{"driver": "nvidia", "device_ids": ids, "capabilities": [["gpu"]]}]


def container_facts(seen: Mapping[str, Any], image: str, settings: ContainerSettings) -> ContainerFacts:
    """Return what the record says of a container, from what `docker inspect` shows."""
    host = seen["HostConfig"]
    requests = host.get("DeviceRequests") or []
    return ContainerFacts(
        id=seen["Id"],
        image=image,
        image_id=seen["Image"],
        network=settings.network,
        user=seen["Config"].get("User") or "root",
        gpus=tuple(gpu for request in requests for gpu in request.get("DeviceIDs") or ()),
        cpu_set=host.get("CpusetCpus") or "",
        cpus=host["NanoCpus"] / 1e9 if host.get("NanoCpus") else None,
        memory_bytes=host.get("Memory") or None,
        ipc=settings.ipc,
        shm_bytes=host.get("ShmSize") or None if settings.ipc is Ipc.PRIVATE else None,
        tf32_override=_variable(seen["Config"].get("Env") or (), "NVIDIA_TF32_OVERRIDE"),
    )


def _variable(environment: Sequence[str], name: str) -> str | None:
    """Return what a variable is set to, by the image or by us; None where it is not."""
    found = (value for key, _, value in (one.partition("=") for one in environment) if key == name)
    return next(found, None)


def by_hand(request: ContainerRequest, image: str) -> tuple[str, ...]:
    """Return the command with which a person starts such a server."""
    container, host = request.container, request.host
    mount, entry, gpus = host["mounts"][0], container.get("entrypoint"), host["device_requests"]
    return (
        *("docker", "run", "--rm", "--network", host["network_mode"]),
        *(word for bound in host["port_bindings"].items() for word in ("--publish", _published(*bound))),
        *(("--user", container["user"]) if container["user"] else ()),
        *(word for gpu in gpus for word in ("--gpus", _gpus_flag(gpu["device_ids"]))),
        *("--volume", f"{mount['Source']}:{WORKDIR}:ro", "--workdir", WORKDIR),
        *(word for path in host["tmpfs"] for word in ("--tmpfs", f"{path}:exec,mode=1777")),
        *(word for key, value in container["environment"].items() for word in ("--env", f"{key}={value}")),
        *(("--entrypoint", *entry) if entry else ()),
        image,
        *container["command"],
    )


def _gpus_flag(ids: Sequence[str]) -> str:
    """Return the GPUs as ``docker run`` wants them: its value is CSV, so a list has quotes of its own."""
    return f"device={ids[0]}" if len(ids) == 1 else f'"device={",".join(ids)}"'


def _published(port: int, bound: tuple[str, int | None]) -> str:
    host = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
    return f"{host}:{port}:{port}"


def _bound(source: Path, target: str, *, read_only: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": read_only}


def _program(argv: list[str], container: Container) -> dict[str, Any]:
    if container.image_entrypoint:
        return {"command": argv}
    return {"entrypoint": argv[:1], "command": argv[1:]}


def _environment(environment: Mapping[str, str], device: Device) -> dict[str, str]:
    """Return a server's environment; which GPUs it sees is the device request's to say."""
    kept = {key: value for key, value in environment.items() if key != "NVIDIA_VISIBLE_DEVICES"}
    return kept if device.kind == "cuda" else {**kept, "NVIDIA_VISIBLE_DEVICES": NO_GPU}


def _reach(surround: Surround, published: Mapping[str, int]) -> dict[str, Any]:
    # Without a port of its own for each, the engine picks free ones of this address only.
    bindings = dict.fromkeys(published.values(), (surround.host, None))
    return {"network_mode": str(surround.settings.network), "port_bindings": bindings}


def _rights(user: str) -> dict[str, Any]:
    """Return what a server may not do; one that is not root needs no capability at all."""
    numbers = _NUMERIC.fullmatch(user)
    ordinary = numbers is not None and int(numbers[1]) != 0
    return {"security_opt": ["no-new-privileges"], "cap_drop": ["ALL"] if ordinary else _ROOT_NEEDS_NOT}


def _shares(surround: Surround) -> dict[str, Any]:
    """Return its share of this machine."""
    settings = surround.settings
    own = {"ipc_mode": "private", "shm_size": settings.shm_bytes}
    return {
        **({"ipc_mode": "host"} if settings.ipc is Ipc.HOST else own),
        # Swap included: a server that swaps is not worth measuring.
        "mem_limit": settings.memory_bytes,
        "memswap_limit": settings.memory_bytes,
        "nano_cpus": None if settings.cpus is None else round(settings.cpus * 1e9),
        "cpuset_cpus": surround.cpu_set or None,
    }


def _tmpfs_options(user: str) -> str:
    """Return how a scratch folder is mounted: some servers load libraries that they unpack there.

    The engine gives it the mode of the image's folder it covers, so its owner has to be said too.
    """
    options = "rw,exec,nosuid,nodev,mode=1777"
    numbers = _NUMERIC.fullmatch(user)
    return options if numbers is None else f"{options},uid={numbers[1]},gid={numbers[2] or 0}"
