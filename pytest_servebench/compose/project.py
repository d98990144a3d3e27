"""What is up, as a small file that tells the next command, and a pytest session, of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import platformdirs

from pytest_servebench.compose.services import PROMETHEUS, STACKS
from pytest_servebench.errors import PlanError, ServebenchError
from pytest_servebench.folders.homes import folder_named
from pytest_servebench.launchers.readiness import HttpProbe, http_probe
from pytest_servebench.launchers.server_address import is_here, parse_address
from pytest_servebench.reports.terminal import DASHBOARD_PATH

STATE_VARIABLE = "SERVEBENCH_STATE"
DEFAULT_PROJECT = "servebench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A compose project that was started."""

    name: str
    files: tuple[str, ...]
    """The compose files, in order."""
    folder: str
    """Where the files lie that its servers read."""
    settings: Mapping[str, str]
    """The environment that its compose files are read with, beside the user's own; no password."""
    stacks: Mapping[str, Mapping[str, int]]
    """Published ports by role, by stack."""
    served: Mapping[str, Any] = field(default_factory=dict)
    """What the stacks serve: model, format, batch size, device."""
    prometheus: str = ""
    """Its URL; empty: it was not started."""
    grafana: str = ""
    keeps: bool = True
    """Whether its volumes may hold something: some versions of compose make them for nobody."""

    @property
    def services(self) -> tuple[str, ...]:
        """Every service that was started."""
        watchers = {"prometheus": self.prometheus, "grafana": self.grafana}
        return (*self.stacks, *(name for name, url in watchers.items() if url))

    @property
    def monitoring(self) -> dict[str, str | None]:
        """Where it is watched; empty when it is not."""
        if not self.prometheus:
            return {}
        return {"prometheus": self.prometheus, "grafana": self.grafana or None}


def default_state_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder named by ``SERVEBENCH_STATE``, else the platform's state folder for this project."""
    return folder_named(STATE_VARIABLE, environment, platformdirs.user_state_dir)


def state_dir_if_any(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return `default_state_dir`; None for a user who has none, and so has started no project."""
    try:
        return default_state_dir(environment)
    except PlanError:
        return None


def make_private(state_dir: Path) -> None:
    """Have a state folder there that other users cannot look into; one that is there stays as it is.

    The engine mounts what lies in it by its own rights. Raises `ServebenchError`.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ServebenchError(
            "the state folder cannot be made",
            where=str(state_dir),
            seen=str(error),
            next_step=f"name another: {STATE_VARIABLE}=FOLDER",
        ) from error


def save(project: Project, state_dir: Path) -> None:
    """Keep what is known of a project until `forget`."""
    make_private(state_dir)
    path = _path(project.name, state_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(project), indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def forget(name: str, state_dir: Path) -> None:
    """Take a project that is down out of the books."""
    _path(name, state_dir).unlink(missing_ok=True)


def find(name: str, state_dir: Path) -> Project | None:
    """Return the project of that name; None when none was started.

    Raises `ServebenchError` for a file that cannot be understood.
    """
    path = _path(name, state_dir)
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return _whole(Project(**{**known, "files": tuple(known["files"])}))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, PlanError) as error:
        raise ServebenchError(
            f"what is known of the project {name} cannot be read",
            where=str(path),
            seen=str(error),
            next_step="remove that file, then end what is left: docker ps --filter "
            f"label=com.docker.compose.project={name}",
        ) from error


def _whole(project: Project) -> Project:
    """Return a project that every command can end; raises `ValueError` or `PlanError` for an edited one."""
    texts = (project.name, project.folder, project.grafana, *project.files, *project.settings.values())
    ports = [port for roles in project.stacks.values() for port in roles.values()]
    for what, wrong in (
        ("a text", not all(isinstance(text, str) for text in texts)),
        ("a port", not all(isinstance(port, int) for port in ports)),
        ("a stack", not project.stacks.keys() <= STACKS.keys()),
    ):
        if wrong:
            raise ValueError(f"it has {what} that is none")
    if project.prometheus:
        parse_address(project.prometheus)
    return project


def all_known(state_dir: Path | None) -> Iterator[Project]:
    """Yield every project that was started; a file that cannot be read is passed over."""
    if state_dir is None:
        return
    for path in sorted((state_dir / "projects").glob("*.json")):
        with suppress(ServebenchError):
            project = find(path.stem, state_dir)
            if project is not None:
                yield project


def watchers(
    attached: Mapping[str, str], state_dir: Path | None, probe: HttpProbe = http_probe
) -> dict[str, dict[str, str | None]]:
    """Return who watches the servers at these URLs, by stack: those that answer now, as `Project.monitoring`.

    A project's file that cannot be read is passed over: what is measured does not depend on it.
    """
    found = {stack: _watcher(url, state_dir) for stack, url in attached.items()}
    return {
        stack: project.monitoring
        for stack, project in found.items()
        if project is not None and _answers(project.prometheus, probe)
    }


def dashboard_url(grafana: str) -> str:
    """Return the address of the dashboard that ``deploy/grafana`` brings."""
    return f"{grafana}{DASHBOARD_PATH}"


def _watcher(url: str, state_dir: Path | None) -> Project | None:
    """Return the project that has a stack at ``url`` and watches it, by the books."""
    address = parse_address(url)
    for project in all_known(state_dir) if is_here(address.host) else ():
        here = [ports.get("http") for ports in project.stacks.values()]
        if project.prometheus and address.ports["http"] in here:
            return project
    return None


def _answers(prometheus: str, probe: HttpProbe) -> bool:
    address = parse_address(prometheus)
    return probe(address.host, address.ports["http"], PROMETHEUS.ready_path).status == HTTPStatus.OK


def _path(name: str, state_dir: Path) -> Path:
    return state_dir / "projects" / f"{name}.json"
