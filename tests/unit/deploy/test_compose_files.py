"""The compose files say what they promise, read by themselves and by every Docker Compose that is here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from pytest_servebench.compose.override import service_of
from pytest_servebench.compose.preparing import kept_spec
from pytest_servebench.compose.services import PASSWORD, PROFILES, SERVICES, STACKS
from pytest_servebench.containers import ImageChoice
from pytest_servebench.interfaces import Containerised
from pytest_servebench.plan import CPU as CPU_DEVICE
from pytest_servebench.plan import Artifact, Deployment, Device, ModelFormat
from pytest_servebench.stacks import built_in_stacks
from tests.composes import DEPLOY, Program, each_compose

GPU, CPU = "compose.yaml", "compose.cpu.yaml"
FILES = {GPU: "with a GPU", CPU: "on a CPU"}
GIVEN = {PASSWORD: "from-the-environment"}
WRITTEN_BY = {"/prometheus", "/var/lib/grafana"}
"""Where the watchers keep what they have seen; everything else is only read."""

each_file = pytest.mark.parametrize("file", FILES)


def written(file: str) -> dict[str, Any]:
    """Return the services as the files have them, with what they extend."""
    shared = yaml.safe_load((DEPLOY / "services.yaml").read_text(encoding="utf-8"))["services"]
    own = yaml.safe_load((DEPLOY / file).read_text(encoding="utf-8"))["services"]
    return {
        name: {
            **shared[service["extends"]["service"]],
            **service,
            "environment": {
                **shared[service["extends"]["service"]].get("environment", {}),
                **service.get("environment", {}),
            },
        }
        for name, service in own.items()
    }


@each_file
def test_every_stack_has_a_profile_of_its_name(file: str) -> None:
    """A profile starts one stack; Prometheus and Grafana have one together."""
    profiles = {name: service["profiles"] for name, service in written(file).items()}
    assert profiles == {
        **{name: [name] for name in STACKS},
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
    }


@each_file
def test_ports_are_on_loopback_and_can_be_changed(file: str) -> None:
    """Every port is published on 127.0.0.1, at the default of `SERVICES`, or where its variable says."""
    for name, service in written(file).items():
        wanted = [f"127.0.0.1:${{{p.variable}:-{p.default}}}:{p.inside}" for p in SERVICES[name].ports]
        assert service["ports"] == wanted


@each_file
def test_what_is_mounted_is_only_read(file: str) -> None:
    """Models, handlers and configurations are mounted read-only; only the watchers' own data is written."""
    for name, service in written(file).items():
        mounts = [volume.rsplit(":", 2) for volume in service["volumes"]]
        writable = [mount for mount in mounts if mount[-1] != "ro"]
        assert {mount[-1] for mount in writable} <= WRITTEN_BY, name
    assert all(len(service["volumes"]) == 1 for name, service in written(file).items() if name in STACKS)


@each_file
def test_containers_can_do_no_more_than_serve(file: str) -> None:
    """No privileges, no capabilities, an init, bounded logs, a check of health; a server is not root."""
    for name, service in written(file).items():
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["cap_drop"] == ["ALL"]
        assert service["init"] is True
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}
        assert service["healthcheck"]["test"][0] == "CMD"
        if name in STACKS:
            assert service["user"] == "${SERVEBENCH_UID:-1000}:${SERVEBENCH_GID:-1000}"
            assert service["restart"] == "on-failure:3"
            assert "shm_size" in service


@each_file
def test_images_are_pinned_and_can_be_changed(file: str) -> None:
    """Every image has a tag that is not latest, and a variable that names another."""
    for name, service in written(file).items():
        variable, image = re.fullmatch(r"\$\{(\w+):-(.+:.+)\}", service["image"]).groups()  # type: ignore[union-attr]
        assert variable == SERVICES[name].image_variable
        assert not image.endswith(":latest")


def test_one_gpu_is_reserved_with_one_and_none_without() -> None:
    """compose.yaml reserves one GPU, the one that SERVEBENCH_GPU names; compose.cpu.yaml none."""
    for name in STACKS:
        (device,) = written(GPU)[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "device_ids": ["${SERVEBENCH_GPU:-0}"], "capabilities": ["gpu"]}
        assert "deploy" not in written(CPU)[name]


def test_no_file_holds_a_password() -> None:
    """What looks like a secret in any file of deploy/ is a variable without a default."""
    secret = re.compile(r"(password|secret|token)\w*[\"']?\s*[:=]\s*(\S.*)", re.IGNORECASE)
    for path in sorted(DEPLOY.rglob("*")):
        if path.is_file():
            for match in secret.finditer(path.read_text(encoding="utf-8")):
                assert match[2].startswith((f"${{{PASSWORD}:?", "...")), f"{path.name}: {match[0]}"


def resolved(compose: Program, file: str, *profiles: str) -> dict[str, Any]:
    """Return the services that compose would start."""
    done = compose.config([file], profiles, GIVEN)
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return services


def filled(value: Any) -> Any:
    """Return a value of a compose file with every variable at its default."""
    if isinstance(value, dict):
        return {key: filled(one) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one) for one in value]
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) if isinstance(value, str) else value


@each_file
@pytest.mark.parametrize("name", STACKS)
def test_servers_start_as_the_launcher_starts_them(file: str, name: str) -> None:
    """By default a service runs the very command, with the very settings, of the stack in a container."""
    device = Device("cuda") if file == GPU else CPU_DEVICE
    artifact = Artifact(
        model="resnet50",
        format=ModelFormat.ONNX,
        path=Path("model.onnx"),
        card_path=Path("card.json"),
        labels_path=Path("labels.json"),
        sha256="",
        weights="",
    )
    deployment = Deployment(stack=name, model="resnet50", format=ModelFormat.ONNX, device=device)
    (stack,) = (one for one in built_in_stacks() if one.name == name)
    contained = cast("Containerised", stack).in_container(ImageChoice(), device)
    spec = kept_spec(contained, deployment, artifact)
    launched = service_of(STACKS[name], spec, "any", (1000, 1000))
    service = filled(written(file)[name])
    no_gpu = {} if file == GPU else {"NVIDIA_VISIBLE_DEVICES": "void"}
    assert service["environment"] == {**launched["environment"], **no_gpu}
    assert "entrypoint" in launched or "entrypoint" not in service, "the image's own has work to do"
    assert started(service) == started(launched)
    for key in ("working_dir", "tmpfs"):
        assert service[key] == launched[key], key


def started(service: dict[str, Any]) -> list[str]:
    """Return the whole command, whichever part of it is the entry point."""
    return [*service.get("entrypoint", ()), *service["command"]]


@each_compose()
@each_file
@pytest.mark.parametrize("profile", PROFILES)
def test_compose_takes_every_profile(compose: Program, file: str, profile: str) -> None:
    """Every profile is valid for every Compose, with a GPU and without: what it starts is complete."""
    services = resolved(compose, file, profile)
    started = {"prometheus", "grafana"} if profile == "monitoring" else {profile}
    assert started <= set(services)
    for name in started:
        service = services[name]
        ports = [
            one if isinstance(one, str) else f"{one['host_ip']}:{one['target']}" for one in service["ports"]
        ]
        assert ports
        assert all(port.startswith("127.0.0.1:") for port in ports)
        reserved = (
            (service.get("deploy") or {}).get("resources", {}).get("reservations", {}).get("devices", [])
        )
        assert len(reserved) == (file == GPU and name in STACKS)


@each_compose()
@each_file
def test_grafana_without_a_password_is_refused(compose: Program, file: str) -> None:
    """Compose ends with a message that says what to set, and starts nothing."""
    done = compose.config([file], ["monitoring"], {})
    assert done.returncode != 0
    assert "set it to the password that Grafana shall have" in done.stderr


@each_compose()
def test_a_port_can_be_changed(compose: Program) -> None:
    """What the environment says of a port is what is published, on loopback still."""
    done = compose.config([CPU], ["fastapi"], {**GIVEN, "FASTAPI_PORT": "18000"})
    (port,) = yaml.safe_load(done.stdout)["services"]["fastapi"]["ports"]
    assert port == "127.0.0.1:18000:8000/tcp" or (port["host_ip"], port["published"]) == (
        "127.0.0.1",
        "18000",
    )
