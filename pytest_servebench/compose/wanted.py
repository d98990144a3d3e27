"""What a person asked ``servebench up`` for, checked (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_servebench.compose.services import STACKS, WATCHERS, Service, check_password
from pytest_servebench.errors import PlanError
from pytest_servebench.plan import CPU, Deployment, Device, ModelFormat
from pytest_servebench.words import did_you_mean, listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What shall be up, and from where."""

    stacks: tuple[str, ...]
    monitoring: str = ""
    """A key of `WATCHERS`; empty: nothing watches."""
    model: str
    format: ModelFormat
    max_batch_size: int
    threads: int
    device: Device
    base: str = ""
    """What images that are built begin with; empty: the pinned one of each."""
    wheels_path: Path | None = None
    """Python packages to build images from; None: the package index."""
    folder: Path
    """Where the files are put that the servers read."""
    project: str

    @property
    def services(self) -> tuple[Service, ...]:
        """The services to start."""
        return (*(STACKS[name] for name in self.stacks), *WATCHERS.get(self.monitoring, ()))

    def deployment(self, stack: str) -> Deployment:
        """Return what ``stack`` serves. A container is given one GPU and numbers it 0."""
        return Deployment(
            stack=stack,
            model=self.model,
            format=self.format,
            max_batch_size=self.max_batch_size,
            threads=self.threads,
            device=self.device if self.device == CPU else Device("cuda"),
        )


def check_wanted(wanted: Wanted, environment: Mapping[str, str]) -> None:
    """Raise `PlanError` for what cannot be started as asked."""
    if ":" in str(wanted.folder):
        raise PlanError(
            "--folder cannot have a colon in its path: compose ends a mount's source there",
            seen=str(wanted.folder),
            next_step="choose another folder",
        )
    check_password(wanted.services, environment)
    ports: dict[int, str] = {}
    for service in wanted.services:
        for role, port in service.published(environment).items():
            name = f"{service.name}'s {role}"
            if port in ports:
                raise PlanError(
                    f"{ports[port]} port and {name} port are both {port}",
                    where="environment",
                    next_step="give one of them another: docs/monitoring.md lists the variables",
                )
            ports[port] = name


def parse_stacks(text: str) -> tuple[str, ...]:
    """Return the stacks in ``fastapi,triton``, each once; raises `PlanError`."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in STACKS:
            raise PlanError(
                f"--stack does not know {name!r}{did_you_mean(name, STACKS)}",
                next_step=f"use some of: {listed(STACKS)}",
            )
    if not names:
        raise PlanError("--stack names no stack", next_step=f"use some of: {listed(STACKS)}")
    return names


def choose_device(text: str, *, nvidia_runtime: bool) -> tuple[Device, str]:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, and why; raises `PlanError`."""
    if text == "auto":
        if nvidia_runtime:
            return Device("cuda"), "the Docker engine has the NVIDIA runtime"
        return CPU, "the Docker engine has no NVIDIA runtime"
    kind, colon, index = text.partition(":")
    if text == "cpu":
        return CPU, ""
    if kind == "cuda" and (not colon or index.isdecimal()):
        return Device("cuda", int(index or 0)), ""
    raise PlanError(
        f"--device does not know {text!r}",
        next_step=f"use one of: {listed(('auto', 'cpu', 'cuda', 'cuda:N'))}",
    )


def files_for(device: Device, deploy: Path, override: Path) -> Sequence[Path]:
    """Return the compose files, in order."""
    return (deploy / ("compose.cpu.yaml" if device == CPU else "compose.yaml"), override)
