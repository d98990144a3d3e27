"""The CI recipes of the documentation do in a sandbox what they are to do on a runner: red when slower."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ci_runner import Done, Runner
from tests.doc_blocks import ROOT

pytestmark = pytest.mark.live

CPU = ROOT / "docs" / "examples" / "ci" / "github-cpu.yml"
GITLAB = ROOT / "docs" / "examples" / "ci" / "gitlab-ci.yml"
AB = ROOT / "docs" / "examples" / "ci" / "github-ab.yml"
FAST_S, SLOW_S = 0.05, 0.1

CONFTEST = """
from pathlib import Path

from tests.echo_stack import Echo, Faults, furnish

def pytest_configure(config):
    furnish(config)

def pytest_servebench_stacks():
    delay_s = float(Path(__file__).with_name("delay_s").read_text())
    return [Echo(faults=Faults(delay_s=delay_s))]

def pytest_benchmark_generate_machine_info():
    return {"node": "made-up", "cpu": {}}  # the real one takes a second
"""
TEST = """
import pytest

@pytest.mark.servebench(concurrency=1)
def test_echo(servebench, case):
    servebench.measure(case)
"""
SETTINGS = """
[tool.servebench]
stack = "echo"
format = "onnx"
batch-size = 1
warmup = "100ms"
duration = "1s"
"""


class Repository:
    """A project of a few lines whose server answers after as long as a file says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._git("init", "--quiet")
        for name, text in (
            ("conftest.py", CONFTEST),
            ("test_echo.py", TEST),
            ("pyproject.toml", SETTINGS),
            ("requirements.txt", "pytest-servebench\n"),
        ):
            (folder / name).write_text(text, encoding="utf-8")
        self.first = self.commit(FAST_S)

    def commit(self, delay_s: float) -> str:
        """Commit a version of the server; return the commit."""
        (self.folder / "delay_s").write_text(f"{delay_s}\n", encoding="utf-8")
        self._git("add", ".")
        who = ("-c", "user.name=A User", "-c", "user.email=user@example.org")
        self._git(*who, "commit", "--quiet", "--allow-empty", "-m", f"{delay_s} s")
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Return one with a commit of the fast server."""
    return Repository(tmp_path / "repository")


@pytest.fixture
def runner(repository: Repository, tmp_path: Path) -> Runner:
    """Return a machine that has checked nothing out yet."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    unused = "-p no:cacheprovider -p no:hypothesispytest"
    # Leases of its own: a server that sleeps is not disturbed by another one's load, and waits for none.
    environment = {"PYTHONPATH": path, "PYTEST_ADDOPTS": unused, "TMPDIR": str(tmp_path)}
    return Runner(repository.folder, tmp_path / "runner", environment)


@pytest.fixture
def compared(repository: Repository, runner: Runner) -> Callable[[float], dict[str, Done]]:
    """Return what runs the A/B recipe for a pull request with a server of so many seconds."""

    def run(delay_s: float) -> dict[str, Done]:
        repository.commit(delay_s)
        return by_name(runner.run(AB, **{"github.event.pull_request.base.sha": repository.first}))

    return run


def by_name(done: tuple[Done, ...]) -> dict[str, Done]:
    """Return the steps that were run, by name, in order."""
    return {one.name: one for one in done}


def gate(runner: Runner, *, promote: bool = False, branch: str = "main") -> dict[str, Done]:
    """Run the recipe of one machine on a branch."""
    facts = {"github.run_id": "1", "github.ref_name": branch, "inputs.promote": promote}
    return by_name(runner.run(CPU, **facts))


def test_two_commits_that_are_alike_are_green(
    runner: Runner, compared: Callable[[float], dict[str, Done]]
) -> None:
    """A pull request that changes nothing passes; each side is measured from a checkout of its own."""
    steps = compared(FAST_S)
    assert [one.exit_code for one in steps.values()] == [0, 0, 0], steps
    measured = runner.home / "work space" / "runs"
    assert [len([*(measured / side).glob("*.json")]) for side in ("before", "after")] == [5, 5]
    assert "regression" not in runner.summary
    assert "p95" in runner.summary


def test_a_slower_commit_is_red(runner: Runner, compared: Callable[[float], dict[str, Done]]) -> None:
    """A pull request whose server is slower fails at the comparison; the job's summary says by how much."""
    steps = compared(SLOW_S)
    *others, last = steps.values()
    assert [one.exit_code for one in others] == [0, 0], steps
    assert (last.name, last.exit_code) == ("Compare", 1), last.output
    assert "Traceback" not in last.output
    assert "regression" in runner.summary
    assert "test_echo" in runner.summary


def test_a_promoted_baseline_gates_what_comes_after(repository: Repository, runner: Runner) -> None:
    """Red without a baseline; green beside one promoted by hand; red for a slower server, and so still."""
    assert gate(runner)["Gate"].exit_code != 0
    elsewhere = gate(runner, promote=True, branch="mine")
    assert elsewhere["Promote"].exit_code == 1, "promoted from a branch that nobody has merged"
    promoted = gate(runner, promote=True)
    assert "Gate" not in promoted
    assert promoted["Promote"].exit_code == 0, promoted
    alike = gate(runner)
    assert alike["Gate"].exit_code == 0, alike
    repository.commit(SLOW_S)
    for _ in range(2):  # no ratchet: what was red once is not the measure of the next
        slower = gate(runner)
        assert slower["Gate"].exit_code == 1, slower
        assert "Promote" not in slower
        assert "regression" in slower["Gate"].output
        assert "regression" in runner.summary


def test_a_committed_baseline_gates_merge_requests(repository: Repository, runner: Runner) -> None:
    """GitLab: the file that the job "promote" leaves, once committed, makes a slower server red."""
    assert runner.run_gitlab(GITLAB, "gate")[0].exit_code != 0
    (promoted,) = runner.run_gitlab(GITLAB, "promote")
    assert promoted.exit_code == 0, promoted
    shutil.copytree(runner.home / "work space" / ".servebench", repository.folder / ".servebench")
    repository.commit(SLOW_S)
    gated, _ = runner.run_gitlab(GITLAB, "gate")
    assert gated.exit_code == 1, gated
    assert "regression" in gated.output
    assert "regression" in (runner.home / "work space" / "compared.md").read_text(encoding="utf-8")
    assert "p95" in (runner.home / "work space" / "junit.xml").read_text(encoding="utf-8")
