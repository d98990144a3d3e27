"""The services of ``deploy/compose.yaml``: their ports and profiles, and what a person asks them (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_servebench.errors import PlanError

LOOPBACK = "127.0.0.1"
MONITORING_PROFILE = "monitoring"
PASSWORD = "GRAFANA_ADMIN_PASSWORD"  # noqa: S105 (the name of a variable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One published port of a service."""

    role: str
    inside: int
    variable: str
    """The environment variable that says where it is published."""
    default: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service of the compose files, under their name."""

    name: str
    ports: tuple[Port, ...]
    """The first is where its readiness is asked."""
    ready_path: str
    image_variable: str
    first_port: int = 0
    """What the first of a stack's port roles listens on in its container; the next ones follow."""

    def published(self, environment: Mapping[str, str]) -> dict[str, int]:
        """Return where each role is published, as compose reads it; raises `PlanError`."""
        return {port.role: _port(port, environment) for port in self.ports}


_BEST_OF_1000 = (
    "tail -c 4000 | python3 -c"
    """ 'import array, sys; s = array.array("f", sys.stdin.buffer.read()); print("class", s.index(max(s)))'"""
)
"""Prints the class of Triton's answer: it ends with a thousand scores, float32."""

STACKS = {
    "fastapi": Service(
        name="fastapi",
        ports=(Port(role="http", inside=8000, variable="FASTAPI_PORT", default=8000),),
        ready_path="/v2/health/ready",
        image_variable="FASTAPI_IMAGE",
        first_port=8000,
    ),
    "triton": Service(
        name="triton",
        ports=(
            Port(role="http", inside=8000, variable="TRITON_HTTP_PORT", default=8010),
            Port(role="grpc", inside=8001, variable="TRITON_GRPC_PORT", default=8011),
            Port(role="metrics", inside=8002, variable="TRITON_METRICS_PORT", default=8012),
        ),
        ready_path="/v2/health/ready",
        image_variable="TRITON_IMAGE",
        first_port=8000,
    ),
    "torchserve": Service(
        name="torchserve",
        ports=(
            Port(role="http", inside=8080, variable="TORCHSERVE_HTTP_PORT", default=8080),
            Port(role="management", inside=8081, variable="TORCHSERVE_MANAGEMENT_PORT", default=8081),
            Port(role="metrics", inside=8082, variable="TORCHSERVE_METRICS_PORT", default=8082),
        ),
        ready_path="/ping",
        image_variable="TORCHSERVE_IMAGE",
        first_port=8080,
    ),
}

PROMETHEUS = Service(
    name="prometheus",
    ports=(Port(role="http", inside=9090, variable="PROMETHEUS_PORT", default=9090),),
    ready_path="/-/ready",
    image_variable="PROMETHEUS_IMAGE",
)
GRAFANA = Service(
    name="grafana",
    ports=(Port(role="http", inside=3000, variable="GRAFANA_PORT", default=3000),),
    ready_path="/api/health",
    image_variable="GRAFANA_IMAGE",
)
WATCHERS = {"prometheus": (PROMETHEUS,), "grafana": (PROMETHEUS, GRAFANA)}
"""What ``--monitoring=WORD`` starts."""
SERVICES = {**STACKS, PROMETHEUS.name: PROMETHEUS, GRAFANA.name: GRAFANA}
PROFILES = (*STACKS, MONITORING_PROFILE)


def check_password(services: Sequence[Service], environment: Mapping[str, str]) -> None:
    """Raise `PlanError` where Grafana shall start and nobody said with which password."""
    if GRAFANA in services and not environment.get(PASSWORD):
        raise PlanError(
            f"Grafana needs a password for its administrator: {PASSWORD} is not set",
            next_step=f"export {PASSWORD}=..., or start Prometheus alone: --monitoring=prometheus",
        )


def attach_option(service: Service, published: Mapping[str, int]) -> str:
    """Return the ``--stack`` option of pytest that measures a stack where it is published."""
    others = "&".join(f"{role}={port}" for role, port in published.items() if role != "http")
    url = f"http://{LOOPBACK}:{published['http']}"
    return f"--stack={service.name}={url}{'?' + others if others else ''}"


def curl_line(stack: str, served_name: str, port: int) -> str:
    """Return a command that asks a stack what is on ``photo.jpg``."""
    url = f"http://{LOOPBACK}:{port}"
    if stack == "triton":
        # Triton takes a body without a header of its own for the one input, an encoded image.
        ask = "curl -s -H 'Inference-Header-Content-Length: 0' --data-binary @photo.jpg"
        return f"{ask} {url}/v2/models/{served_name}_jpeg/infer | {_BEST_OF_1000}"
    if stack == "torchserve":
        return f"curl -T photo.jpg {url}/predictions/{served_name}"
    return f"curl -F file=@photo.jpg {url}/classify"


def _port(port: Port, environment: Mapping[str, str]) -> int:
    text = environment.get(port.variable, "") or str(port.default)
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise PlanError(
            f"{port.variable} is no port",
            where="environment",
            seen=repr(text),
            next_step="give a number from 1 to 65535",
        )
    return int(text)
