"""Ports, room and quiet of a machine: each trouble is told with what mends it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.checkup import Check, CheckState
from pytest_servebench.doctor.ports import PortSeen, port_checks
from pytest_servebench.doctor.quiet import CpuSeen, NoiseSeen, quiet_checks
from pytest_servebench.doctor.space import CPU_IMAGES_BYTES, EXPORT_BYTES, DiskSeen, SpaceSeen, space_checks

PORT = PortSeen(service="fastapi", role="http", variable="FASTAPI_PORT", port=8000, other=18000)
GRAFANA = PortSeen(service="grafana", role="http", variable="GRAFANA_PORT", port=3000, other=13000)
ROOMY = SpaceSeen(
    cache=DiskSeen(path="/cache", free_bytes=10**12),
    engine=DiskSeen(path="/var/lib/docker", free_bytes=10**12),
    shared=DiskSeen(path="/dev/shm", free_bytes=10**10),
    memory_bytes=16 * 10**9,
    available_bytes=8 * 10**9,
)
QUIET = CpuSeen(
    usable_cores=8,
    online_cores=8,
    governors=("performance",),
    turbo=False,
    others_cores=0.1,
    memory_bytes=16 * 10**9,
    clock_source="tsc",
    noise=NoiseSeen(pieces_ms=(2.0,) * 100, cpu_share=1.0),
)


def quiet_of(seen: CpuSeen) -> dict[str, Check]:
    """Return the checks by subject."""
    return {each.subject: each for each in quiet_checks(seen)}


def space_of(seen: SpaceSeen, *, on_gpu: bool = False, in_docker: bool = True) -> dict[str, Check]:
    """Return the checks by subject."""
    return {each.subject: each for each in space_checks(seen, on_gpu=on_gpu, in_docker=in_docker)}


def test_free_ports_are_one_line() -> None:
    """Where all are free there is one check, with all of them."""
    (check,) = port_checks((PORT, GRAFANA))
    assert (check.state, check.seen) == (CheckState.OK, "8000, 3000")


def test_a_port_that_is_taken_says_by_whom_and_what_to_type() -> None:
    """Its holder is named where it can be seen, else how to see it; another port is proposed."""
    seen, unseen = (
        next(port_checks((replace(PORT, is_taken=True, holder=holder),))) for holder in ("nginx (9)", "")
    )
    assert (seen.state, seen.is_needed) == (CheckState.WARNING, False)
    assert seen.seen == "nginx (9) listens there"
    assert seen.remedy == "FASTAPI_PORT=18000 servebench up --stack fastapi"
    assert unseen.remedy.splitlines()[0] == "sudo ss -tlnp 'sport = :8000'"
    (grafana,) = port_checks((replace(GRAFANA, is_taken=True, holder="x (1)"),))
    assert grafana.remedy == "export GRAFANA_PORT=13000"


def test_a_port_of_our_own_project_is_no_trouble() -> None:
    """What servebench up has brought up is told by its name."""
    (check,) = port_checks((replace(PORT, is_taken=True, project="servebench"),))
    assert (check.state, check.remedy) == (CheckState.OK, "")


def test_a_roomy_machine_has_nothing_to_mend() -> None:
    """Free bytes are told beside those that are needed."""
    checks = space_of(ROOMY)
    assert {each.state for each in checks.values()} == {CheckState.OK}
    assert "0.3 GB" in checks["cache of models"].seen
    assert "2.0 GB" in checks["images"].seen


def test_a_full_disk_stops_what_has_to_be_written() -> None:
    """An export that has no room cannot be; one that is there already needs none."""
    full = DiskSeen(path="/cache", free_bytes=EXPORT_BYTES - 1)
    check = space_of(replace(ROOMY, cache=full))["cache of models"]
    assert (check.state, check.is_needed) == (CheckState.MISSING, True)
    assert "SERVEBENCH_CACHE" in check.remedy
    assert space_of(replace(ROOMY, cache=full, has_model=True))["cache of models"].state is CheckState.OK


def test_images_need_room_only_where_containers_are_used() -> None:
    """What images for a GPU take was never measured, and is not claimed."""
    full = replace(ROOMY, engine=DiskSeen(path="/d", free_bytes=CPU_IMAGES_BYTES - 1))
    for in_docker in (True, False):
        check = space_of(full, in_docker=in_docker)["images"]
        assert (check.state, check.is_needed) == (CheckState.MISSING, in_docker)
    have = space_of(replace(full, images=("triton",)))["images"]
    assert (have.state, "triton" in have.seen) == (CheckState.WARNING, True)
    assert space_of(ROOMY, on_gpu=True)["images"].state is CheckState.NOT_AVAILABLE
    assert space_of(replace(ROOMY, engine=None))["images"].state is CheckState.NOT_AVAILABLE


def test_little_memory_is_told_also_that_of_a_cgroup() -> None:
    """The smaller of both counts."""
    assert space_of(replace(ROOMY, available_bytes=10**9))["memory"].state is CheckState.WARNING
    limited = space_of(replace(ROOMY, limit_bytes=10**9))["memory"]
    assert limited.state is CheckState.WARNING
    assert "a cgroup gives this process 1.0 GB" in limited.seen


def test_little_shared_memory_is_told() -> None:
    """Docker's default of 64 MB is too little for Triton's Python backend; unreadable is n/a."""
    small = space_of(replace(ROOMY, shared=DiskSeen(path="/dev/shm", free_bytes=64 * 2**20)))["/dev/shm"]
    assert small.state is CheckState.WARNING
    assert "--shm-size" in small.remedy
    gone = DiskSeen(path="/dev/shm", free_bytes=None, absent="not there")
    assert space_of(replace(ROOMY, shared=gone))["/dev/shm"].state is CheckState.NOT_AVAILABLE


def test_a_quiet_machine_has_nothing_to_mend() -> None:
    """All is well, and noise is labelled as measured."""
    checks = quiet_of(QUIET)
    assert {each.state for each in checks.values()} == {CheckState.OK}
    assert checks["noise"].seen.startswith("measured now: 100 equal pieces of work, median 2.00 ms, p95 +0%")


@pytest.mark.parametrize(
    ("changes", "subject", "remedy"),
    [
        ({"usable_cores": 1}, "cores", "taskset"),
        ({"limit_cores": 1.5}, "CPU limit", "--serve-threads"),
        ({"governors": ("powersave", "schedutil")}, "governor", "sudo cpupower frequency-set -g performance"),
        ({"others_cores": 3.0}, "other programs", "top"),
        ({"swap_bytes": 10**9}, "swap", "sudo swapoff -a"),
        ({"clock_source": "hpet"}, "clock source", "echo tsc | sudo tee"),
        ({"noise": NoiseSeen(pieces_ms=(2.0,) * 90 + (3.0,) * 10)}, "noise", "--serve-repeats=5"),
        ({"noise": NoiseSeen(pieces_ms=(2.0,) * 100, cpu_share=0.5)}, "noise", "--serve-repeats=5"),
    ],
    ids=str,
)
def test_each_disturbance_is_a_warning_with_its_remedy(
    changes: dict[str, object], subject: str, remedy: str
) -> None:
    """None of them stops anything, and nothing else is said to be wrong."""
    checks = quiet_of(replace(QUIET, **changes))  # type: ignore[arg-type]
    assert [each.subject for each in checks.values() if each.state is not CheckState.OK] == [subject]
    assert checks[subject].state is CheckState.WARNING
    assert not checks[subject].is_needed
    assert remedy in checks[subject].remedy


def test_what_a_system_does_not_say_is_not_available() -> None:
    """A virtual machine without governor, and noise that was skipped, are n/a with a reason."""
    mute = CpuSeen(
        usable_cores=2, online_cores=2, others_absent="not told", noise=NoiseSeen(skipped="skipped")
    )
    checks = quiet_of(mute)
    for subject in ("governor", "turbo", "other programs", "noise", "clock source"):
        assert checks[subject].state is CheckState.NOT_AVAILABLE, subject
        assert checks[subject].seen


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=50), st.floats(0, 1) | st.none())
def test_any_noise_is_told(pieces: list[float], share: float | None) -> None:
    """Whatever was measured has a line, and even pieces alone are never noisy."""
    noise = NoiseSeen(pieces_ms=tuple(pieces), cpu_share=share)
    check = quiet_of(replace(QUIET, noise=noise))["noise"]
    assert f"{len(pieces)} equal pieces" in check.seen
    even = replace(QUIET, noise=NoiseSeen(pieces_ms=(pieces[0],) * len(pieces), cpu_share=1.0))
    assert quiet_of(even)["noise"].state is CheckState.OK
