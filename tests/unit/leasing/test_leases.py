"""Leases between real processes, on fake time: shared starts, lone windows, nobody starved, nothing left."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from pytest_servebench.errors import LaunchError
from pytest_servebench.leasing.holders import SUFFIX, holders_in
from pytest_servebench.leasing.lanes import Gpu, Lane, Machine, lanes_of
from pytest_servebench.leasing.leases import PERIOD_S, TELL_EVERY, Leases
from pytest_servebench.testing.clock import FakeClock

MACHINE = Machine(cores=4, gpus=(Gpu(0, "GPU-a"),))
WHOLE = Lane()
LOW, HIGH = lanes_of((), ((0, 1), (2, 3)))

HOLDING = """
import sys
from pathlib import Path
from pytest_servebench.clock import MonotonicClock
from pytest_servebench.leasing.lanes import Gpu, Lane, Machine
from pytest_servebench.leasing.leases import Leases

cpus = tuple(map(int, sys.argv[3].split(","))) if sys.argv[3] else None
machine = Machine(cores=4, gpus=(Gpu(0, "GPU-a"),))
leases = Leases(Lane(cpus=cpus), machine, Path(sys.argv[1]), MonotonicClock())
with getattr(leases, sys.argv[2])("their-case"):
    print("held", flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of locks, which is not there yet."""
    return tmp_path / "leases"


class Waiting(Exception):  # noqa: N818 (no error: how a test learns that somebody waits)
    """Somebody waits; the text is what they were told."""


class Impatient(FakeClock):
    """Time in which nobody waits: the first wait calls ``then``, the next one ends the try."""

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._then = then

    def sleep_s(self, seconds: float) -> None:
        super().sleep_s(seconds)
        if self._then is None:
            raise Waiting
        then, self._then = self._then, None
        then()


def leases(folder: Path, lane: Lane = WHOLE, clock: FakeClock | None = None) -> Leases:
    """Return leases of a session of its own, impatient unless told otherwise."""
    return Leases(lane, MACHINE, folder, clock or Impatient())


def free(lease: AbstractContextManager[float]) -> bool:
    """Return whether this lease can be had without waiting."""
    try:
        with lease:
            return True
    except Waiting:
        return False


@contextmanager
def another(folder: Path, doing: str, cpus: str = "") -> Iterator[subprocess.Popen[str]]:
    """Hold a lease in another process until the block ends, or longer by its own choice."""
    command = [sys.executable, "-c", HOLDING, str(folder), doing, cpus]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("doing", "cpus", "then", "lane", "possible"),
    [
        ("starting", "", "starting", WHOLE, True),
        ("starting", "", "measuring", WHOLE, False),
        ("measuring", "", "starting", WHOLE, False),
        ("measuring", "", "measuring", WHOLE, False),
        ("measuring", "0,1", "measuring", HIGH, True),
        ("measuring", "0,1", "starting", HIGH, True),
        ("measuring", "0,1", "starting", LOW, False),
        ("measuring", "1,2", "measuring", LOW, False),
        ("measuring", "0,1", "starting", WHOLE, False),
        ("starting", "", "measuring", LOW, False),
        ("starting", "0,1", "starting", LOW, True),
    ],
)
def test_start_ups_share_and_a_window_is_alone(
    folder: Path, doing: str, cpus: str, then: str, lane: Lane, *, possible: bool
) -> None:
    """Between processes, on lanes that have something in common; and all is free afterwards."""
    with another(folder, doing, cpus):
        assert free(getattr(leases(folder, lane), then)("ours")) is possible
    assert free(leases(folder, lane).measuring("ours"))


def test_two_sessions_of_one_process_exclude_each_other_too(folder: Path) -> None:
    """A lock belongs to who took it, not to the process."""
    with leases(folder).measuring("one"):
        assert not free(leases(folder).measuring("other"))
    assert free(leases(folder).measuring("other"))


def test_a_process_that_is_killed_holds_nothing_any_more(folder: Path) -> None:
    """SIGKILL leaves no lock, and its note is removed by the next who comes."""
    with another(folder, "measuring") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(list(folder.glob(f"*{SUFFIX}"))) == 1
        assert holders_in(folder) == ()
        assert free(leases(folder).measuring("ours"))
    assert list(folder.glob(f"*{SUFFIX}")) == []


def test_what_waits_for_a_window_keeps_later_start_ups_behind_it(folder: Path) -> None:
    """A window that others' start-ups keep waiting would starve if new ones went first."""
    tried: list[bool] = []
    with another(folder, "starting") as process:

        def look_and_release() -> None:
            tried.append(free(leases(folder).starting("late")))
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "released\n"

        with leases(folder, clock=Impatient(look_and_release)).measuring("ours") as waited_s:
            assert tried == [False]
            assert waited_s == pytest.approx(PERIOD_S)
    assert free(leases(folder).starting("later"))


def test_who_gives_up_waiting_holds_nothing(folder: Path) -> None:
    """Ctrl-C while it waits: neither locks nor turns nor notes stay behind."""
    with another(folder, "measuring", "0,1"):
        assert not free(leases(folder).measuring("ours"))
        assert len(holders_in(folder)) == 1
        assert free(leases(folder, HIGH).measuring("ours"))
    assert free(leases(folder).measuring("ours"))


@pytest.mark.parametrize(
    ("lane", "doing", "cpus", "text"),
    [
        (WHOLE, "measuring", "", "waiting for the machine: process {pid} measures their-case"),
        (WHOLE, "starting", "2,3", "waiting for the machine: process {pid} starts their-case"),
        (LOW, "measuring", "1", "waiting for core 1: process {pid} measures their-case"),
    ],
)
def test_who_waits_is_told_for_whom(folder: Path, lane: Lane, doing: str, cpus: str, text: str) -> None:
    """What it is, which process has it, and what for."""
    told: list[str] = []
    waiting = Leases(lane, MACHINE, folder, Impatient(), lambda text, _: told.append(text))
    with another(folder, doing, cpus) as process:
        assert not free(waiting.measuring("ours"))
        assert told == [text.format(pid=process.pid)]


def test_word_comes_about_once_a_second(folder: Path) -> None:
    """Whoever waits long costs those who measure little: notes are read at every tenth try."""
    told: list[float] = []
    clock = FakeClock()

    def tell(_: str, waited_s: float) -> None:
        told.append(waited_s)
        if len(told) == 3:
            raise Waiting

    with another(folder, "measuring"), pytest.raises(Waiting):  # noqa: SIM117
        with Leases(WHOLE, MACHINE, folder, clock, tell).starting("ours"):
            pass
    assert clock.slept_s == [PERIOD_S] * (2 * TELL_EVERY)
    assert told == pytest.approx([0, PERIOD_S * TELL_EVERY, 2 * PERIOD_S * TELL_EVERY])


def test_notes_are_only_told_never_believed(folder: Path) -> None:
    """One that cannot be read, or is half written, says nothing and is in nobody's way."""
    told: list[str] = []
    with another(folder, "measuring"):
        (note,) = folder.glob(f"*{SUFFIX}")
        whole = note.read_text(encoding="utf-8")
        assert json.loads(whole)["doing"] == "measures"
        for text in ("", whole[:-5], "[]", "{}"):
            note.write_text(text, encoding="utf-8")
            with (
                pytest.raises(Waiting),
                Leases(WHOLE, MACHINE, folder, Impatient(), lambda text, _: told.append(text)).starting("x"),
            ):
                pass
    assert told == ["waiting for the machine"] * 4


def remove_locks(folder: Path) -> None:
    """Do what a cleaner of temporary files does."""
    for name in ("locks", "turns"):
        (folder / name).unlink()


@pytest.mark.parametrize("whole", [False, True], ids=["files", "folder"])
def test_a_lock_of_a_removed_file_is_taken_again(folder: Path, *, whole: bool) -> None:
    """Who waited on a file that is gone would hold what nobody else looks at."""
    with another(folder, "measuring") as process:

        def remove_and_release() -> None:
            remove_locks(folder)
            if whole:
                shutil.rmtree(folder)
            process.kill()
            process.wait()

        with leases(folder, clock=Impatient(remove_and_release)).measuring("ours"):
            assert not free(leases(folder).measuring("theirs"))
            assert not free(leases(folder).starting("theirs"))
    assert free(leases(folder).measuring("later"))


def test_a_window_that_lost_its_lock_does_not_count(folder: Path) -> None:
    """Others may have measured inside it; a start-up disturbed by that is no worse than any other."""
    with (  # noqa: PT012 (the block is what loses its lock)
        pytest.raises(LaunchError, match=r"does not count[\s\S]*ours[\s\S]*TMPDIR"),
        leases(folder).measuring("ours"),
    ):
        remove_locks(folder)
        assert free(leases(folder).measuring("theirs"))
    with leases(folder).starting("ours"):
        remove_locks(folder)
    with pytest.raises(ZeroDivisionError), leases(folder).measuring("ours"):  # noqa: PT012 (as above)
        remove_locks(folder)
        raise ZeroDivisionError


def test_cleaners_see_that_the_locks_are_used(folder: Path) -> None:
    """Those that go by age see a young file; systemd-tmpfiles finds the folder locked while one is held."""
    with leases(folder).starting("ours"):
        pass
    for name in ("locks", "turns"):
        os.utime(folder / name, (0, 0))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with leases(folder).starting("ours"):
            assert min((folder / name).stat().st_mtime for name in ("locks", "turns")) > 0
            with pytest.raises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert free(leases(folder).measuring("ours"))
    finally:
        os.close(descriptor)


def test_the_folder_is_this_users_alone(folder: Path) -> None:
    """Made with mode 0700; one that others can write to, or a link to anywhere, is refused."""
    with leases(folder).starting("ours"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o770)
    with pytest.raises(LaunchError, match=r"open to others[\s\S]*mode drwxrwx---[\s\S]*TMPDIR"):
        free(leases(folder).starting("ours"))
    folder.chmod(0o700)
    link = folder.with_name("link")
    link.symlink_to(folder)
    with pytest.raises(LaunchError, match=r"open to others[\s\S]*link"):
        free(leases(link).starting("ours"))


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    """Without locks nothing starts, and the message says what to do."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "none" / "leases"):
        with pytest.raises(LaunchError, match=r"nothing can be started: no lock can be had[\s\S]*TMPDIR"):
            free(leases(path).starting("ours"))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # it has threads: torch's, numpy's
def test_a_forked_child_does_not_keep_what_its_parent_releases(folder: Path) -> None:
    """A child without exec shares the open files; the parent's release counts."""
    reader, writer = os.pipe()
    with leases(folder).measuring("ours"):
        child = os.fork()
        if child == 0:  # pragma: no cover (measured in the parent)
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    try:
        assert free(leases(folder).measuring("theirs"))
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)
