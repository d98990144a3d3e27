"""A runner of a few lines for GitHub and GitLab: runs a job, its commands exactly as they stand in the file.

What comes from outside is local: a checkout is a clone of a folder, the cache another folder, and installing
is left out, since all is installed: ``pip`` notes what it was asked for, ``python -m venv`` makes an
environment that is this one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

TIMEOUT_S = 300
NO_PIPEFAIL = ["bash", "-e"]
"""The shell where none is named: a failure within a pipe is not seen."""
BASH = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
TOOLS = Path(sys.executable).parent


@dataclass(frozen=True)
class Done:
    """What became of a step that was run."""

    name: str
    exit_code: int
    output: str


@dataclass
class Runner:
    """One machine: its cache outlives jobs, its workspace does not."""

    repository: Path
    """What is checked out, a git repository."""
    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""
    """What the last job wrote into its job summary."""
    installed: str = ""
    """What ``pip`` was asked for by the last job."""

    def run(self, workflow: Path, **facts: Any) -> tuple[Done, ...]:
        """Run the only job of ``workflow``; ``facts`` are what its expressions know, by dotted name."""
        read = yaml.safe_load(workflow.read_text(encoding="utf-8"))
        (job,) = read["jobs"].values()
        variables = {"GITHUB_REF_NAME": str(facts.get("github.ref_name", "main")), **read.get("env", {})}
        workspace = self._workspace()
        shell = job.get("defaults", {}).get("run", {}).get("shell")
        done: list[Done] = []
        for step in job["steps"]:
            failed = any(one.exit_code for one in done)
            if not _wanted(str(step.get("if", "success()")), facts, failed=failed):
                continue
            step = _filled(step, facts)  # noqa: PLW2901 (with what its expressions are)
            if "run" in step:
                argv = BASH if step.get("shell", shell) == "bash" else NO_PIPEFAIL
                done.append(self._command(step, argv, workspace, variables))
            else:
                self._action(step["uses"].partition("@")[0], step.get("with", {}), workspace)
        self.summary = (self.home / "summary.md").read_text(encoding="utf-8")
        self.installed = (self.home / "installed").read_text(encoding="utf-8")
        return tuple(done)

    def run_gitlab(self, pipeline: Path, job: str) -> tuple[Done, ...]:
        """Run one job of a pipeline of GitLab: what comes before it, its script, and what comes after."""
        read = yaml.safe_load(pipeline.read_text(encoding="utf-8"))
        workspace = self._workspace()
        self._check_out(workspace, "HEAD")
        before = "\n".join([*read["default"]["before_script"], *read[job]["script"]])
        after = "\n".join(read[job].get("after_script", ()))
        scripts = {"script": before, "after_script": after}
        return tuple(
            self._command({"name": name, "run": text}, NO_PIPEFAIL, workspace, read["variables"])
            for name, text in scripts.items()
            if text
        )

    def _workspace(self) -> Path:
        workspace = self.home / "work space"
        shutil.rmtree(workspace, ignore_errors=True)
        workspace.mkdir(parents=True)
        for name in ("summary.md", "installed"):
            (self.home / name).write_text("", encoding="utf-8")
        _make_shims(self.home / "bin", self.home / "installed")
        return workspace

    def _command(
        self, step: Mapping[str, Any], argv: list[str], workspace: Path, variables: Mapping[str, str]
    ) -> Done:
        script = self.home / "step.sh"
        script.write_text(step["run"], encoding="utf-8")
        path = os.pathsep.join((str(self.home / "bin"), str(TOOLS), os.environ["PATH"]))
        summary = str(self.home / "summary.md")
        told = {**self.environment, **variables, "PATH": path, "GITHUB_STEP_SUMMARY": summary}
        ended = subprocess.run(
            [*argv, str(script)],
            cwd=workspace,
            env={**os.environ, **told},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Done(str(step.get("name", step["run"])), ended.returncode, ended.stdout)

    def _action(self, name: str, given: Mapping[str, Any], workspace: Path) -> None:
        if name == "actions/checkout":
            self._check_out(workspace / given.get("path", "."), str(given.get("ref", "HEAD")))
        elif name == "actions/cache/restore":
            self._restore(workspace / given["path"], given["restore-keys"].strip())
        elif name == "actions/cache/save":
            shutil.copytree(workspace / given["path"], self.home / "cache" / given["key"])
        else:
            assert name in {"actions/setup-python", "actions/upload-artifact"}, f"not known here: {name}"

    def _check_out(self, folder: Path, ref: str) -> None:
        subprocess.run(["git", "clone", "--quiet", str(self.repository), str(folder)], check=True)
        subprocess.run(["git", "checkout", "--quiet", "--detach", ref], cwd=folder, check=True)

    def _restore(self, folder: Path, prefix: str) -> None:
        """Copy the newest entry whose key begins so; none is no error, as with the real one."""
        found = sorted((self.home / "cache").glob(f"{prefix}*"), key=lambda path: path.stat().st_mtime_ns)
        if found:
            shutil.copytree(found[-1], folder, dirs_exist_ok=True)


def _make_shims(folder: Path, installed: Path) -> None:
    """Make commands that stand before the real ones; an environment has them as its own."""
    folder.mkdir(exist_ok=True)
    bodies = {
        "pip": f'echo "$@" >>"{installed}"',
        "python": f'if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3" && cp -R "{folder}" "$3/bin"; '
        f'else exec "{sys.executable}" "$@"; fi',
        **{name: f'exec "{TOOLS / name}" "$@"' for name in ("pytest", "servebench")},
    }
    for name, body in bodies.items():
        shim = folder / name
        shim.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        shim.chmod(0o755)


def _filled(value: Any, facts: Mapping[str, Any]) -> Any:
    """Return ``value`` with each ``${{ ... }}`` in it replaced by what it is."""
    if isinstance(value, dict):
        return {key: one if key == "if" else _filled(one, facts) for key, one in value.items()}
    if isinstance(value, str):
        return re.sub(r"\$\{\{(.*?)\}\}", lambda match: str(_value(match[1], facts)), value)
    return value


STATUS = {"success", "failure", "cancelled", "always"}


def _wanted(condition: str, facts: Mapping[str, Any], *, failed: bool) -> bool:
    """Return whether a step is run; a condition that asks for no status wants success too."""
    bare = re.sub(r"^\$\{\{(.*)\}\}$", r"\1", condition.strip())
    asks = any(f"{word}()" in bare for word in STATUS)
    return bool(_value(bare, facts, failed=failed)) and (asks or not failed)


def _value(expression: str, facts: Mapping[str, Any], *, failed: bool = False) -> Any:
    """Evaluate GitHub's expression, of which the recipes use little."""
    python = expression.strip().replace("&&", " and ").replace("||", " or ")
    python = re.sub(r"!(?!=)", " not ", python)
    names: dict[str, Any] = {
        "success": lambda: not failed,
        "failure": lambda: failed,
        "cancelled": lambda: False,
        "always": lambda: True,
        "inputs": SimpleNamespace(promote=""),
    }
    for dotted, fact in facts.items():
        _put(names, dotted.split("."), fact)
    return eval(python.strip(), {"__builtins__": {}}, names)


def _put(names: dict[str, Any], dotted: list[str], fact: Any) -> None:
    first, *others = dotted
    if not others:
        names[first] = fact
        return
    inner = vars(names.setdefault(first, SimpleNamespace()))
    _put(inner, others, fact)
