"""Docker Compose as a command: which one is here, and one run of it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pytest_servebench.compose.ending import ToldToEnd
from pytest_servebench.errors import LaunchError, MissingPieceError

CANDIDATES = (("docker", "compose"), ("docker-compose",))
"""The plugin of Docker's own command, then the command of its own; both are asked for their version."""
_VERSION_TIMEOUT_S = 20
_INTERRUPTED_S = 20
"""How long it may take to come to an end once it was interrupted."""
_IGNORED = (
    "COMPOSE_FILE",
    "COMPOSE_PROFILES",
    "COMPOSE_PROJECT_NAME",
    "COMPOSE_ENV_FILES",
    "DOCKER_CONTEXT",
)
"""Variables by which a user's own projects, or another engine than ours, would get into it."""
_NEXT_STEPS = {
    "up": "where an image cannot be pulled: PROMETHEUS_IMAGE=NAME and GRAFANA_IMAGE=NAME name one that is "
    "here; where a port is taken: FASTAPI_PORT=18000 and its like choose another (docs/monitoring.md)"
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compose:
    """Docker Compose on one project."""

    argv: tuple[str, ...]
    """The program: ``docker compose`` or ``docker-compose``."""
    project: str
    files: tuple[str, ...]
    profiles: tuple[str, ...]
    environment: Mapping[str, str]

    def command(self, *words: str) -> list[str]:
        """Return the whole command line of one call."""
        files = [word for file in self.files for word in ("-f", file)]
        profiles = [word for profile in self.profiles for word in ("--profile", profile)]
        return [*self.argv, "--project-name", self.project, *files, *profiles, *words]

    def run(self, *words: str) -> None:
        """Run it with its output on the terminal; raises `LaunchError` when it fails."""
        with subprocess.Popen(self.command(*words), env=self._environment()) as process:
            try:
                code = process.wait()
            except KeyboardInterrupt as end:
                # It was interrupted, too: killed at once, it would leave the engine at work.
                if isinstance(end, ToldToEnd):
                    process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_INTERRUPTED_S)
                process.kill()
                raise
        if code != 0:
            raise self._failed(words, code, "its output above")

    def ask(self, *words: str) -> str:
        """Return what it prints; raises `LaunchError` when it fails."""
        done = subprocess.run(
            self.command(*words), env=self._environment(), check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise self._failed(words, done.returncode, done.stderr.strip()[-2000:])
        return done.stdout

    def running(self) -> frozenset[str]:
        """Return the services whose container runs now."""
        return frozenset(self.ask("ps", "--services", "--filter", "status=running").split())

    def last_words(self, service: str, lines: int = 20) -> str:
        """Return the last log lines of a service; why they cannot be had, where they cannot."""
        try:
            return self.ask("logs", "--no-color", f"--tail={lines}", service).strip()
        except LaunchError as error:
            return error.seen

    def _environment(self) -> dict[str, str]:
        return {key: value for key, value in self.environment.items() if key not in _IGNORED}

    def _failed(self, words: Sequence[str], code: int, seen: str) -> LaunchError:
        return LaunchError(
            f"{' '.join(self.argv)} {words[0]} failed with exit code {code}",
            where=f"project {self.project}",
            seen=seen,
            next_step=_NEXT_STEPS.get(words[0], "docker ps and docker logs show what is there"),
        )


def find_compose(environment: Mapping[str, str], *, timeout_s: float = _VERSION_TIMEOUT_S) -> tuple[str, ...]:
    """Return the program that is Docker Compose here; raises `MissingPieceError`.

    Each candidate has ``timeout_s`` to tell its version.
    """
    answers = []
    for argv in CANDIDATES:
        try:
            done = subprocess.run(
                [*argv, "version"],
                env=dict(environment),
                check=False,
                capture_output=True,
                text=True,
                timeout=timeout_s,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            answers.append(f"{' '.join(argv)}: {getattr(error, 'strerror', None) or 'no answer'}")
            continue
        if done.returncode == 0:
            return argv
        answers.append(f"{' '.join(argv)}: {(done.stderr.strip().splitlines() or ['no word'])[0]}")
    raise MissingPieceError(
        "Docker Compose is not installed",
        seen="; ".join(answers),
        next_step="install the plugin (docker-compose-plugin of Docker's repository) or docker-compose "
        "(of Debian), 1.29 or later",
    )
