"""Where the engine listens that the user's ``docker`` command talks to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UNIX = "unix://"
DEFAULT_HOST = f"{UNIX}/var/run/docker.sock"
DEFAULT_CONTEXT = "default"


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """An engine's address, and who chose it."""

    host: str
    """As in ``DOCKER_HOST``; empty: it is not known."""
    context: str = ""
    """The context of the ``docker`` command that has it; empty: no context was chosen."""
    unknown: str = ""
    """Why ``host`` is empty."""

    @property
    def is_here(self) -> bool:
        """Whether the engine runs on this machine, as far as its address tells."""
        return self.host.startswith(UNIX)

    def __str__(self) -> str:
        """Return it, with the context that has it."""
        return f"{self.host or 'no address'} (docker context {self.context})" if self.context else self.host


def engine_address(environment: Mapping[str, str]) -> EngineAddress:
    """Return where it listens: by ``DOCKER_HOST``, else ``DOCKER_CONTEXT``, else ``docker context use``.

    Read here: the SDK knows no ``DOCKER_CONTEXT``, looks for contexts in the current folder where there is
    no ``config.json``, and takes long to import. The layout is that of docker/cli, ``cli/context/store``.
    """
    host = environment.get("DOCKER_HOST", "").strip()
    if host:
        return EngineAddress(_plain(host))
    folder = Path(environment.get("DOCKER_CONFIG", "") or os.path.expanduser("~/.docker"))  # noqa: PTH111 (never raises)
    name = environment.get("DOCKER_CONTEXT", "") or _current(folder)
    if name == DEFAULT_CONTEXT:
        return EngineAddress(DEFAULT_HOST)
    try:
        known = _read(folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json")
        return EngineAddress(_plain(str(known["Endpoints"]["docker"]["Host"])), name)
    except (OSError, ValueError, KeyError, TypeError) as error:
        unknown = f"docker context {name} has no engine: {error!r}; docker context ls shows all"
        return EngineAddress("", name, unknown)


def _current(folder: Path) -> str:
    try:
        return str(_read(folder / "config.json").get("currentContext") or DEFAULT_CONTEXT)
    except (OSError, ValueError, AttributeError):
        return DEFAULT_CONTEXT


def _read(path: Path) -> Any:  # noqa: ANN401 (whatever is in the file)
    return json.loads(path.read_text(encoding="utf-8"))


def _plain(host: str) -> str:
    """Return a Unix socket's address with its path whole: one slash means the same as three."""
    if not host.startswith("unix:"):
        return host
    path = host.removeprefix("unix:").lstrip("/")
    return f"{UNIX}/{path}" if path else DEFAULT_HOST
