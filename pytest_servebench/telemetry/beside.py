"""Reads the machine beside a load: the server, the client, everybody else, and the GPUs.

All samplers together may use 0.9% of one core: 0.35% the server's (its processes or its cgroup), 0.3% the
GPU's, 0.25% the client's and the machine's. Each further GPU may use 0.3% more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from pytest_servebench.interfaces import Clock
from pytest_servebench.plan import Device
from pytest_servebench.results import Endpoint, Telemetry
from pytest_servebench.telemetry.cautions import warnings_of
from pytest_servebench.telemetry.cgroup import Cgroup, cgroup_of, cgroup_of_container
from pytest_servebench.telemetry.client import CPU as CLIENT_CPU
from pytest_servebench.telemetry.client import ClientProbe, ClientReading
from pytest_servebench.telemetry.container import CgroupProbe
from pytest_servebench.telemetry.gpu_devices import visible_devices
from pytest_servebench.telemetry.gpu_window import GpuReading, nothing
from pytest_servebench.telemetry.gpus import GpusProbe, facts_of, joined
from pytest_servebench.telemetry.host import CPU, CPU_S, MEMORY, HostReading, ProcessTreeProbe
from pytest_servebench.telemetry.neighbours import (
    OTHERS,
    MachineProbe,
    MachineReading,
    others_cores,
    shared_cores,
)
from pytest_servebench.telemetry.sampling import Probe

Window = tuple[int, int]
"""Begin and end, in nanoseconds."""

JOULES = "joules_per_image"


@contextmanager
def machine_beside(
    endpoint: Endpoint, device: Device, clock: Clock
) -> Iterator[Callable[[Window], Telemetry]]:
    """Sample beside the load that runs inside the context; call what it gives once the window is over.

    What only the server knows of itself is left out. Nothing is changed on the machine, and nothing raises.
    """
    cgroup = _cgroup(endpoint)
    server = _server_probe(endpoint, cgroup, clock)
    client = ClientProbe(endpoint.pid, clock)
    machine = MachineProbe(shared_cores(endpoint.pid), cgroup, clock)
    gpus = None
    if device.kind == "cuda":
        pids = frozenset if server is None else server.pids
        gpus = GpusProbe(device.indexes, clock, visible=visible_devices(), pids=pids)

    def reading(window_ns: Window) -> Telemetry:
        # First what the load's end changes at once.
        busy, own = machine.window(*window_ns), client.window(*window_ns)
        each = {} if gpus is None else gpus.window(*window_ns)
        device_seen = joined(each) if each else nothing(f"the model runs on {device}")
        host = _unseen(endpoint) if server is None else server.window(*window_ns)
        window_s = (window_ns[1] - window_ns[0]) / 1e9
        seen = _joined(host, busy, own, device_seen, window_s)
        is_split = gpus is not None and gpus.is_split
        warnings = warnings_of(seen, cores=busy.cores, is_split=is_split, gpus=each)
        return replace(seen, gpus=facts_of(each), warnings=warnings)

    probes: list[Probe] = [probe for probe in (server, gpus, client, machine) if probe is not None]
    with ExitStack() as running:
        for probe in probes:
            running.callback(probe.stop)
            probe.start()
        yield reading


def with_joules_per_image(telemetry: Telemetry, images: int, *, publishable: bool = True) -> Telemetry:
    """Return it with the energy of each of so many correct images."""
    if telemetry.gpu_energy_j is None:
        reason = telemetry.absent.get("gpu_energy_j", "the energy of its GPU was not read")
    elif not publishable:
        reason = "the run is not published"
    elif images <= 0:
        reason = "no image was answered correctly"
    else:
        joules = telemetry.gpu_energy_j / images
        return replace(telemetry, joules_per_image=joules, absent=_without(telemetry.absent, JOULES))
    return replace(telemetry, joules_per_image=None, absent={**telemetry.absent, JOULES: reason})


def _joined(
    host: HostReading, machine: MachineReading, client: ClientReading, gpu: GpuReading, window_s: float
) -> Telemetry:
    others = others_cores(machine.busy_s, host.cpu_s, client.cpu_s, window_s)
    unknown = host.absent.get(CPU_S) or client.absent.get(CLIENT_CPU) or machine.absent.get(OTHERS, "")
    return Telemetry(
        server_cpu_cores=host.cpu_cores,
        server_cpu_s=host.cpu_s,
        server_memory_bytes=host.memory_bytes,
        server_memory_kind=None if host.memory_bytes is None else host.memory_kind,
        server_scope=host.scope,
        server_throttled_share=machine.throttled_share,
        client_cpu_s=client.cpu_s,
        client_memory_bytes=client.memory_bytes,
        other_cpu_cores=others,
        **gpu.figures,
        absent={
            **host.absent,
            **client.absent,
            **({OTHERS: unknown} if others is None else {}),
            **gpu.absent,
        },
    )


def _cgroup(endpoint: Endpoint) -> Cgroup | None:
    container = "" if endpoint.container is None else endpoint.container.id
    if endpoint.pid is not None:
        return cgroup_of(endpoint.pid, container=container)
    return cgroup_of_container(container) if container else None


def _server_probe(
    endpoint: Endpoint, cgroup: Cgroup | None, clock: Clock
) -> CgroupProbe | ProcessTreeProbe | None:
    """Return what reads the server: a container's cgroup is its own, that of a process may be anybody's."""
    if endpoint.container is not None and cgroup is not None and cgroup.is_accounted:
        return CgroupProbe(cgroup, clock)
    return None if endpoint.pid is None else ProcessTreeProbe(endpoint.pid, clock)


def _unseen(endpoint: Endpoint) -> HostReading:
    reason = "the server is not ours: its processes are not known"
    if endpoint.container is not None:
        reason = "the processes of its container are not visible from here"
    return HostReading(scope=None, absent=dict.fromkeys((CPU, CPU_S, MEMORY), reason))


def _without(absent: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: reason for key, reason in absent.items() if key != name}
