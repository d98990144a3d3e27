"""A program that stands for Docker Compose: it notes what it is told, and does nothing."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from pytest_servebench.compose.command import Compose

PROGRAM = """\
import json, os, sys
from pathlib import Path
here = Path(__file__).parent
words = sys.argv[1:]
with (here / "calls").open("a") as log:
    log.write(json.dumps({"words": words, "password": os.environ.get("GRAFANA_ADMIN_PASSWORD"),
                           "folder": os.environ.get("SERVEBENCH_FOLDER"),
                           "engine": os.environ.get("DOCKER_HOST"),
                           "context": os.environ.get("DOCKER_CONTEXT"),
                           "foreign": sorted(k for k in os.environ if k.startswith("COMPOSE_"))}) + "\\n")
for name in ("version", "ps", "logs", "up", "down", "rm"):
    if name in words:
        answer = here / name
        if answer.exists():
            print(answer.read_text(), end="")
        sys.exit(int((here / (name + ".code")).read_text()) if (here / (name + ".code")).exists() else 0)
"""


@dataclass(frozen=True, slots=True)
class Stand:
    """A program in place of Docker Compose."""

    path: Path

    def answers(self, command: str, text: str = "", code: int = 0) -> None:
        """Have a command print ``text`` and end with ``code``."""
        (self.path.parent / command).write_text(text, encoding="utf-8")
        (self.path.parent / f"{command}.code").write_text(str(code), encoding="utf-8")

    @property
    def calls(self) -> list[dict[str, object]]:
        """What it was told, call by call."""
        log = self.path.parent / "calls"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def told(self, command: str) -> list[list[str]]:
        """Return the words from ``command`` on, of every call that had it."""
        words = [[str(word) for word in call["words"]] for call in self.calls]  # type: ignore[attr-defined]
        return [each[each.index(command) :] for each in words if command in each]

    def compose(self, environment: dict[str, str] | None = None) -> Compose:
        """Return it as a project's compose."""
        return Compose(
            argv=(str(self.path),),
            project="made-up",
            files=("one.yaml", "two.json"),
            profiles=("fastapi", "monitoring"),
            environment=environment or {},
        )


def stand_in(folder: Path) -> Stand:
    """Make the program in ``folder``; every command of it ends well and says nothing."""
    path = folder / "docker-compose"
    path.parent.mkdir(exist_ok=True)
    program = folder / "stand_in.py"
    program.write_text(PROGRAM, encoding="utf-8")
    # Not by "#!" of its own: this Python's path may hold spaces.
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return Stand(path)
