"""A container as the engine is asked for it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.containers import (
    Container,
    ContainerImage,
    ContainerSettings,
    Ipc,
    Network,
    Preparation,
)
from pytest_servebench.launchers.docker.request import (
    ContainerRequest,
    Surround,
    by_hand,
    container_facts,
    container_request,
    container_user,
    inner_ports,
    inside,
    preparation_request,
    private_scratch,
    published_ports,
)
from pytest_servebench.plan import CPU, Device, LaunchSpec, ReadyCheck

SPEC = LaunchSpec(
    name="tiny",
    argv=("serve", "--at=${host}:${http_port}", "--metrics=${metrics_port}", "${workdir}/model"),
    port_roles=("http", "metrics"),
    environment={"MODEL": "${workdir}/model", "NVIDIA_VISIBLE_DEVICES": "all"},
    ready=ReadyCheck(path="/ready"),
    container=Container(image=ContainerImage(name="tiny:1"), scratch=("/tmp", "logs/inner")),
)


def asked(
    settings: ContainerSettings | None = None,
    *,
    spec: LaunchSpec = SPEC,
    device: Device = CPU,
    part: str = "",
    host: str = "127.0.0.1",
    user: str = "1000:1000",
    cpu_set: str = "",
    free: Mapping[str, int] | None = None,
) -> ContainerRequest:
    """Return what the engine is asked for ``spec``."""
    settings = settings or ContainerSettings()
    surround = Surround(
        settings=settings,
        device=device,
        part=part,
        host=host,
        user=user,
        labels={"run": "7"},
        cpu_set=cpu_set,
    )
    ports = inner_ports(spec, settings, free or {})
    return container_request(
        spec, surround, name="one", image_id="sha256:1", ports=ports, workdir=Path("/work dir")
    )


def test_publishes_each_port_on_one_address_and_lets_the_engine_pick() -> None:
    """On the bridge every role has a port of its own inside, and a free one of the host's address outside."""
    request = asked()
    assert request.host["network_mode"] == "bridge"
    assert request.host["port_bindings"] == {8000: ("127.0.0.1", None), 8001: ("127.0.0.1", None)}
    assert request.container["ports"] == [8000, 8001]
    elsewhere = asked(host="192.0.2.7").host["port_bindings"]
    assert elsewhere == {8000: ("192.0.2.7", None), 8001: ("192.0.2.7", None)}


def test_a_server_on_the_bridge_listens_everywhere_in_its_container() -> None:
    """Placeholders stand for what the server sees: its own network, its own ports, the mounted folder."""
    container = asked().container
    assert container["entrypoint"] == ["serve"]
    assert container["command"] == ["--at=0.0.0.0:8000", "--metrics=8001", "/servebench/model"]
    assert container["environment"]["MODEL"] == "/servebench/model"


def test_a_server_on_the_hosts_network_has_free_ports_of_the_host() -> None:
    """With network=host nothing is published, and the server listens on the host's address itself."""
    request = asked(ContainerSettings(network=Network.HOST), free={"http": 4001, "metrics": 4002})
    assert (request.host["network_mode"], request.host["port_bindings"]) == ("host", {})
    assert request.container["ports"] == []
    assert request.container["command"][:2] == ["--at=127.0.0.1:4001", "--metrics=4002"]


def test_the_private_folder_is_mounted_read_only_and_is_where_the_server_starts() -> None:
    """Models, archives and handlers lie there; by a mount that refuses a folder that is not there."""
    request = asked()
    assert request.host["mounts"] == [
        {"Type": "bind", "Source": "/work dir", "Target": "/servebench", "ReadOnly": True}
    ]
    assert request.container["working_dir"] == "/servebench"


def test_scratch_lies_in_memory_and_belongs_to_the_servers_user() -> None:
    """Scratch folders are tmpfs that its user can write to and load libraries from, wherever they lie."""
    options = "rw,exec,nosuid,nodev,mode=1777,uid=1000,gid=1000"
    assert asked().host["tmpfs"] == {"/tmp": options, "/servebench/logs/inner": options}
    assert asked(user="7").host["tmpfs"]["/tmp"].endswith("uid=7,gid=0")
    assert asked(user="").host["tmpfs"]["/tmp"] == "rw,exec,nosuid,nodev,mode=1777"
    assert SPEC.container is not None
    assert private_scratch(SPEC.container) == ("logs/inner",)


@pytest.mark.parametrize(
    ("user", "uid", "runs_as"),
    [
        ("", 501, "501:20"),
        ("", 0, "1000:1000"),
        ("image", 501, ""),
        ("image", 0, ""),
        ("1234", 0, "1234"),
        ("0:0", 501, "0:0"),
    ],
)
def test_user(user: str, uid: int, runs_as: str) -> None:
    """Who launches it is whom it runs as, but never root unless root was asked for."""
    assert container_user(ContainerSettings(user=user), uid, 20 if uid else 0) == runs_as


def test_gains_no_privileges() -> None:
    """No server gains privileges; who is not root has no capability, root lacks what none needs."""
    ordinary, of_image, root = asked(), asked(user=""), asked(user="0:0")
    for request in (ordinary, of_image, root):
        assert request.host["security_opt"] == ["no-new-privileges"]
    assert ordinary.host["cap_drop"] == ["ALL"]
    assert "NET_RAW" in of_image.host["cap_drop"]
    assert "DAC_OVERRIDE" not in root.host["cap_drop"]
    assert (ordinary.container["user"], of_image.container["user"]) == ("1000:1000", None)


@given(index=st.integers(0, 63))
def test_a_gpu_and_no_other(index: int) -> None:
    """cuda:N asks for the device N alone, and nothing in the environment widens it."""
    request = asked(device=Device("cuda", index))
    assert request.host["device_requests"] == [
        {"driver": "nvidia", "device_ids": [str(index)], "capabilities": [["gpu"]]}
    ]
    assert "NVIDIA_VISIBLE_DEVICES" not in request.container["environment"]


def test_several_gpus_and_no_others() -> None:
    """They come in one request, and the command by hand quotes them as the CLI's CSV wants it."""
    request = asked(device=Device("cuda", 3, (1,)))
    (gpus,) = request.host["device_requests"]
    assert gpus["device_ids"] == ["3", "1"]
    assert "--gpus '\"device=3,1\"'" in shlex.join(by_hand(request, "tiny:1"))


def test_a_part_of_a_gpu_and_no_other_part() -> None:
    """By its GPU's number a container would see every part, and CUDA would take the first of them."""
    request = asked(device=Device("cuda", 3), part="MIG-c6d4")
    (gpus,) = request.host["device_requests"]
    assert gpus["device_ids"] == ["MIG-c6d4"]
    assert "--gpus device=MIG-c6d4" in shlex.join(by_hand(request, "tiny:1"))


def test_a_cpu_server_is_given_no_gpu_even_where_nvidia_is_the_default_runtime() -> None:
    """An image that names all GPUs in its environment gets none."""
    request = asked(device=CPU)
    assert request.host["device_requests"] == []
    assert request.container["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_limits() -> None:
    """Memory is limited with swap, CPUs in billionths, cores by name; without limits nothing is said."""
    settings = ContainerSettings(memory_bytes=2**29, cpus=1.5, shm_bytes=2**26, init=False)
    host = asked(settings, cpu_set="0-1").host
    assert (host["mem_limit"], host["memswap_limit"]) == (2**29, 2**29)
    assert (host["nano_cpus"], host["cpuset_cpus"]) == (1_500_000_000, "0-1")
    assert (host["shm_size"], host["init"]) == (2**26, False)
    free = asked().host
    assert [free[key] for key in ("mem_limit", "memswap_limit", "nano_cpus", "cpuset_cpus")] == [None] * 4
    assert (free["shm_size"], free["init"]) == (2**30, True)


def test_shared_memory_is_its_own_unless_the_hosts_was_asked_for() -> None:
    """ipc=host is how the payload shm reaches a server; a size of one's own has no meaning then."""
    assert asked().host["ipc_mode"] == "private"
    shared = asked(ContainerSettings(ipc=Ipc.HOST)).host
    assert shared["ipc_mode"] == "host"
    assert "shm_size" not in shared


def test_an_images_entry_point_is_kept_where_the_stack_says_so() -> None:
    """Else argv alone runs: some entry points outlive the server they started."""
    assert SPEC.container is not None
    kept = asked(spec=replace(SPEC, container=replace(SPEC.container, image_entrypoint=True))).container
    assert "entrypoint" not in kept
    assert kept["command"][0] == "serve"


def test_says_who_it_is_and_runs_no_check_of_its_image() -> None:
    """Labels are the launcher's; an image's health check would run beside the load; logs can be followed."""
    request = asked()
    assert request.container["labels"] == {"run": "7"}
    assert request.container["name"] == request.name == "one"
    assert request.container["image"] == "sha256:1"
    assert request.container["healthcheck"] == {"test": ["NONE"]}
    assert request.host["log_config"]["Type"] == "json-file"


def test_the_sdk_takes_it_as_it_is() -> None:
    """Every keyword is one of the docker SDK's, in the form that it wants."""
    docker = pytest.importorskip("docker")
    request = asked(ContainerSettings(memory_bytes=2**29, cpus=1.0), device=Device("cuda", 1), cpu_set="0")
    host: dict[str, Any] = docker.types.HostConfig(version="1.41", **request.host)
    assert host["DeviceRequests"][0]["DeviceIDs"] == ["1"]
    assert host["PortBindings"]["8000/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": ""}]
    config = docker.types.ContainerConfig(
        version="1.41",
        **{key: value for key, value in request.container.items() if key != "name"},
        host_config=host,
    )
    assert config["Healthcheck"]["Test"] == ["NONE"]
    assert config["Entrypoint"] == ["serve"]


def seen(**host: Any) -> dict[str, Any]:
    """Return what `docker inspect` shows of a container."""
    return {
        "Id": "c1",
        "Image": "sha256:1",
        "Config": {"User": ""},
        "HostConfig": {"NetworkMode": "bridge", "DeviceRequests": None, "CpusetCpus": "", **host},
        "NetworkSettings": {
            "Ports": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}], "8001/tcp": None}
        },
    }


def test_ports_are_read_back() -> None:
    """A port that the engine picked is the endpoint's; one it did not publish is absent, never a guess."""
    inner = {"http": 8000, "metrics": 8001}
    assert published_ports(seen(), inner) == {"http": 32768}
    assert published_ports({**seen(), "NetworkSettings": {"Ports": {}}}, inner) == {}
    assert published_ports(seen(NetworkMode="host"), inner) == inner


def test_the_record_says_what_was_really_made() -> None:
    """Facts are the engine's, not what was asked for; nobody named is root."""
    facts = container_facts(seen(), "tiny:1", ContainerSettings())
    assert (facts.id, facts.image, facts.image_id, facts.user) == ("c1", "tiny:1", "sha256:1", "root")
    assert (facts.network, facts.gpus, facts.cpu_set) == (Network.BRIDGE, (), "")
    on_gpu = container_facts(
        seen(DeviceRequests=[{"DeviceIDs": ["1"]}], CpusetCpus="0-3"), "tiny:1", ContainerSettings()
    )
    assert (on_gpu.gpus, on_gpu.cpu_set) == (("1",), "0-3")
    assert (facts.cpus, facts.memory_bytes, facts.ipc, facts.shm_bytes) == (None, None, Ipc.PRIVATE, None)
    limits = seen(NanoCpus=1_500_000_000, Memory=3 * 2**30, ShmSize=2**30)
    limited = container_facts(limits, "tiny:1", ContainerSettings())
    assert (limited.cpus, limited.memory_bytes, limited.shm_bytes) == (1.5, 3 * 2**30, 2**30)
    assert container_facts(limits, "tiny:1", ContainerSettings(ipc=Ipc.HOST)).shm_bytes is None


@pytest.mark.parametrize(
    ("variables", "found"),
    [(None, None), ([], None), (["A=B", "NVIDIA_TF32_OVERRIDE=0"], "0"), (["NVIDIA_TF32_OVERRIDE="], "")],
)
def test_whether_tf32_is_forbidden_is_read_from_the_container(
    variables: list[str] | None, found: str | None
) -> None:
    """Whoever set it: its image may have."""
    shown = {**seen(), "Config": {"User": "", "Env": variables}}
    assert container_facts(shown, "tiny:1", ContainerSettings()).tf32_override == found


def test_by_hand() -> None:
    """An error shows a command that can be pasted: user, folder, GPU, scratch, environment, arguments."""
    words = by_hand(asked(device=Device("cuda", 2)), "tiny:1")
    assert words[-4:] == ("tiny:1", "--at=0.0.0.0:8000", "--metrics=8001", "/servebench/model")
    text = shlex.join(words)
    for part in (
        "docker run --rm --network bridge --publish 127.0.0.1:8000:8000 --publish 127.0.0.1:8001:8001",
        "--user 1000:1000",
        "--gpus device=2",
        "--volume '/work dir:/servebench:ro'",
        "--tmpfs /tmp:exec,mode=1777",
        "--env MODEL=/servebench/model",
        "--entrypoint serve tiny:1",
    ):
        assert part in text


def test_inside() -> None:
    """What a spec's placeholders stand for depends on the network alone."""
    ports = {"http": 1}
    assert inside(ContainerSettings(), "192.0.2.7", ports).fill("${host} ${workdir}") == "0.0.0.0 /servebench"
    shared = ContainerSettings(network=Network.HOST)
    assert inside(shared, "192.0.2.7", ports).fill("${host}:${http_port}") == "192.0.2.7:1"


PREPARATION = Preparation(
    name="tiny_tensorrt",
    image=ContainerImage(name="tiny:1"),
    argv=("build", "--onnx=${source}/model.onnx", "--to=${made}/model.plan", "a $$ b"),
    environment={"CACHE": "${made}/cache", "NVIDIA_VISIBLE_DEVICES": "all"},
    source=Path("/model cache/one/model.onnx"),
    source_sha256="abc",
    product="model.plan",
    next_step="read its log",
)


def prepared(*, device: Device = CPU, user: str = "501:20", whole: bool = False) -> ContainerRequest:
    """Return what the engine is asked for, to have a file made."""
    surround = Surround(
        settings=ContainerSettings(memory_bytes=2**30),
        device=device,
        host="127.0.0.1",
        user="1000:1000",
        labels={"run": "7"},
        cpu_set="0-3",
    )
    return preparation_request(
        replace(PREPARATION, image_entrypoint=whole),
        surround,
        name="one",
        image_id="sha256:1",
        user=user,
        folder=Path("/plans/.building"),
    )


def test_tools_see_the_model_and_write_into_one_folder_only() -> None:
    """The model's folder is read-only, the other is not; there is no network and no port."""
    request = prepared()
    assert request.host["mounts"] == [
        {"Type": "bind", "Source": "/model cache/one", "Target": "/servebench/source", "ReadOnly": True},
        {"Type": "bind", "Source": "/plans/.building", "Target": "/servebench/made", "ReadOnly": False},
    ]
    assert request.host["network_mode"] == "none"
    assert "ports" not in request.container
    assert request.container["entrypoint"] == ["build"]
    assert request.container["command"] == [
        "--onnx=/servebench/source/model.onnx",
        "--to=/servebench/made/model.plan",
        "a $ b",
    ]
    assert request.container["environment"]["CACHE"] == "/servebench/made/cache"
    assert "entrypoint" not in prepared(whole=True).container


def test_tools_run_as_who_keeps_what_they_make() -> None:
    """On the cores and under the limits of the server to come, without privileges, marked as the run's."""
    request = prepared()
    assert (request.container["user"], request.container["labels"]) == ("501:20", {"run": "7"})
    assert (request.host["cpuset_cpus"], request.host["mem_limit"]) == ("0-3", 2**30)
    assert (request.host["security_opt"], request.host["cap_drop"]) == (["no-new-privileges"], ["ALL"])
    assert request.host["tmpfs"]["/tmp"].endswith("uid=501,gid=20")


def test_tools_are_given_the_servers_gpu() -> None:
    """A plan is timed on the GPU that serves it, and on no other."""
    (asked_for,) = prepared(device=Device("cuda", 2)).host["device_requests"]
    assert asked_for["device_ids"] == ["2"]
    assert "NVIDIA_VISIBLE_DEVICES" not in prepared(device=Device("cuda", 2)).container["environment"]
    assert prepared().host["device_requests"] == []


def test_the_sdk_takes_a_preparation_as_it_is() -> None:
    """Its keyword arguments are those of the SDK's own types."""
    from docker.types import HostConfig

    made = HostConfig(version="1.45", **prepared(device=Device("cuda", 1)).host)
    assert [mount["ReadOnly"] for mount in made["Mounts"]] == [True, False]
