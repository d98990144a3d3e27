from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import pytest

from pytest_servebench import run_containers
from pytest_servebench.errors import LaunchError
from pytest_servebench.launchers.docker.leftovers import Removal
from pytest_servebench.launchers.docker.owner import Owner, owner_of
from pytest_servebench.plan import LauncherKind
from pytest_servebench.run_containers import RunContainers

Asked = list[tuple[str, ...]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Return what is asked of an engine that finds nothing to remove."""
    questions: Asked = []

    def note_run(run: str, *, worker: str = "") -> Removal:
        questions.append(("run", run, worker))
        return Removal()

    def note_leftovers(here: Owner) -> Removal:
        questions.append(("leftovers", here.run))
        return Removal(removed=("echo 0123456789ab of process 7",))

    monkeypatch.setattr(run_containers, "remove_run", note_run)
    monkeypatch.setattr(run_containers, "remove_leftovers", note_leftovers)
    return questions


def finds(monkeypatch: pytest.MonkeyPatch, removal: Callable[[], Removal]) -> None:
    """Have the engine's answer at the end of a run be made by ``removal``."""
    monkeypatch.setattr(run_containers, "remove_run", lambda _run: removal())


def run_of(containers: RunContainers) -> str:
    """Return the run that its labels name."""
    owner = owner_of(containers.labels("echo"))
    assert owner
    return owner.run


def test_a_controller_clears_before_and_after(asked: Asked) -> None:
    """It removes what killed sessions left, a crashed worker's, and in the end all of its run's."""
    controller = RunContainers(LauncherKind.DOCKER, {})
    assert controller.notice == ""
    controller.clear_before()
    controller.clear_worker("gw1")
    controller.clear_after()
    run = run_of(controller)
    assert asked == [("leftovers", run), ("run", run, "gw1"), ("run", run, "")]
    assert controller.notice == "servebench leftovers: removed echo 0123456789ab of process 7"


def test_a_worker_belongs_to_its_controllers_run(asked: Asked) -> None:
    """Its containers carry that run and its own name; it leaves clearing away to the controller."""
    controller, given = RunContainers(LauncherKind.DOCKER, {}), {"workerid": "gw1"}
    controller.give(given)
    worker = RunContainers(LauncherKind.DOCKER, given)
    owner = owner_of(worker.labels("echo"))
    assert owner
    assert (owner.run, owner.worker) == (run_of(controller), "gw1")
    worker.clear_before()
    worker.clear_worker("gw1")
    worker.clear_after()
    assert asked == []


@pytest.mark.parametrize("launcher", [LauncherKind.PROCESS, LauncherKind.ATTACH])
def test_without_the_docker_launcher_no_engine_is_asked(launcher: LauncherKind, asked: Asked) -> None:
    """There may be none."""
    containers = RunContainers(launcher, {})
    containers.clear_before()
    containers.clear_worker("gw0")
    containers.clear_after()
    assert asked == []
    assert containers.notice == ""


def test_every_run_is_its_own() -> None:
    """Two sessions at once do not remove each other's."""
    assert run_of(RunContainers(LauncherKind.DOCKER, {})) != run_of(RunContainers(LauncherKind.DOCKER, {}))


def test_what_cannot_be_removed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the engine's reason, and the command that removes it by hand."""
    containers = RunContainers(LauncherKind.DOCKER, {})
    finds(monkeypatch, lambda: Removal(trouble="echo 01 of process 7 cannot be removed: busy"))
    with pytest.raises(LaunchError) as caught:
        containers.clear_after()
    assert str(caught.value) == (
        "containers of this run may be left behind\n"
        "  seen: echo 01 of process 7 cannot be removed: busy\n"
        "  next: the next session on this host with the docker launcher removes them, or: docker rm --force "
        f"$(docker ps --all --quiet --filter label=servebench.run={run_of(containers)})"
    )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_interrupts_the_clearing_away(monkeypatch: pytest.MonkeyPatch, how: signal.Signals) -> None:
    """A second Ctrl-C that comes just then is not heard; one that comes later is."""
    before = signal.getsignal(how)

    def pressed_again() -> Removal:
        signal.raise_signal(how)
        return Removal()

    finds(monkeypatch, pressed_again)
    RunContainers(LauncherKind.DOCKER, {}).clear_after()
    assert signal.getsignal(how) is before


def test_it_clears_away_in_any_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the main thread hears signals, and only it may choose not to."""
    done: list[Removal] = []

    def note() -> Removal:
        done.append(Removal())
        return done[0]

    finds(monkeypatch, note)
    thread = threading.Thread(target=RunContainers(LauncherKind.DOCKER, {}).clear_after)
    thread.start()
    thread.join()
    assert done == [Removal()]


def test_an_engine_that_is_gone_ends_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look for leftovers says so in its line, and nothing is raised."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    containers = RunContainers(LauncherKind.DOCKER, {})
    containers.clear_before()
    assert containers.notice.startswith(
        "servebench leftovers: the Docker engine does not answer: unix:///nowhere/docker.sock: "
    )
    assert "\n" not in containers.notice
