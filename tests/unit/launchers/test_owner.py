from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.launchers.docker.owner import (
    BOOT,
    HOST,
    PID,
    PID_NAMESPACE,
    RUN,
    STARTED,
    Owner,
    is_leftover,
    labels_of,
    lives,
    owner_of,
    this_process,
)

HERE = Owner(
    run="1f2e", worker="gw0", pid=77, started_ticks=4_400, host="build-7", boot="b1", pid_namespace="pid:[4]"
)
DEAD = replace(HERE, run="0a0b", pid=78, started_ticks=400)
SAID = (RUN, PID, STARTED, HOST, BOOT, PID_NAMESPACE)
words = st.text(min_size=1)
numbers = st.integers(min_value=0, max_value=10**17)


def nobody_lives(_pid: int, _started_ticks: int) -> bool:
    """Say of every process that it has ended."""
    return False


def left(owner: Owner | Mapping[str, str], *, ended: bool = False, here: Owner = HERE) -> bool:
    """Return whether such a container is a leftover where no process lives."""
    labels = labels_of(owner, "triton") if isinstance(owner, Owner) else owner
    return is_leftover(labels, here, nobody_lives, ended=ended)


@given(
    st.builds(
        Owner,
        run=words,
        worker=st.text(),
        pid=numbers,
        started_ticks=numbers,
        host=words,
        boot=words,
        pid_namespace=words,
    )
)
def test_labels_say_whose_it_is(owner: Owner) -> None:
    """What is written into labels is read from them again."""
    assert owner_of(labels_of(owner, "triton")) == owner


@given(st.dictionaries(st.sampled_from(SAID) | st.text(), st.text() | numbers.map(str)))
def test_strange_labels_are_nobodys(labels: dict[str, str]) -> None:
    """Labels that others wrote never raise, and name an owner only where all of it is said."""
    owner = owner_of(labels)
    assert owner is None or labels_of(owner, "x").items() >= {(key, labels[key]) for key in SAID}


def test_a_dead_owner_here_leaves_something() -> None:
    """Its container is a leftover, whether or not it still runs."""
    assert left(DEAD)
    assert left(DEAD, ended=True)


def test_a_living_owner_keeps_its_container() -> None:
    """It is asked for by process id and start, so that a later process of the same id is not taken for it."""
    running = {(78, 400)}

    def lives_here(pid: int, started_ticks: int) -> bool:
        return (pid, started_ticks) in running

    assert not is_leftover(labels_of(DEAD, "triton"), HERE, lives_here, ended=True)
    later = replace(DEAD, started_ticks=401)
    assert is_leftover(labels_of(later, "triton"), HERE, lives_here, ended=False)


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize(
    "owner",
    [
        replace(DEAD, host="build-8"),
        replace(DEAD, pid_namespace="pid:[5]"),
        replace(DEAD, host="build-8", boot="b2"),
    ],
    ids=["another host", "other processes", "another host of another boot"],
)
def test_nothing_is_known_of_an_owner_elsewhere(owner: Owner, ended: bool) -> None:
    """Containers of CI that share an engine do not see each other's processes, and leave each other alone."""
    assert not left(owner, ended=ended)


def test_an_earlier_boot_left_only_what_has_ended() -> None:
    """A reboot ends every container here; one that runs is of another machine with the same name."""
    earlier = replace(DEAD, boot="b0", pid_namespace="pid:[9]")
    assert left(earlier, ended=True)
    assert not left(earlier, ended=False)


@pytest.mark.parametrize("missing", SAID)
@pytest.mark.parametrize("ended", [False, True])
def test_labels_that_cannot_be_read_keep_their_container(missing: str, ended: bool) -> None:
    """Where one is missing or empty nobody can tell whose it is."""
    labels = labels_of(DEAD, "triton")
    assert left(labels)
    assert not left({**labels, missing: ""}, ended=ended)
    del labels[missing]
    assert not left(labels, ended=ended)


@pytest.mark.parametrize("word", ["-1", "1.5", "٣", "0x4e", " 78", "78\n", "078", "9" * 5000])
@pytest.mark.parametrize("key", [PID, STARTED])
def test_a_number_is_digits(key: str, word: str) -> None:
    """Anything else was not written by us."""
    assert not left({**labels_of(DEAD, "triton"), key: word})


def test_where_the_boot_is_not_known_nothing_is_a_leftover() -> None:
    """Without /proc nobody can tell who lives."""
    assert not left(DEAD, here=replace(HERE, boot=""), ended=True)


def test_this_process_lives() -> None:
    """It names itself so that it is found, and not under another start."""
    here = this_process("1f2e", "gw3")
    assert (here.run, here.worker, here.pid) == ("1f2e", "gw3", os.getpid())
    assert owner_of(labels_of(here, "triton")) == here
    assert lives(here.pid, here.started_ticks)
    assert not lives(here.pid, here.started_ticks + 1)


def test_a_process_is_dead_once_it_has_ended() -> None:
    """Also while its parent has not taken note of it, and when it is gone altogether."""
    program = (
        "from pytest_servebench.launchers.docker.owner import this_process\n"
        "print(this_process('x').started_ticks, flush=True); input()"
    )
    command, pipe = [sys.executable, "-c", program], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout
        started_ticks = int(child.stdout.readline())
        assert lives(child.pid, started_ticks)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # which leaves it a zombie
        assert not lives(child.pid, started_ticks)
    assert not lives(child.pid, started_ticks)


def test_a_process_that_is_hidden_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc shows only one's own, the kernel still says that there is a process of that id."""

    def forbidden(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr("pytest_servebench.launchers.docker.owner._stat", _hidden)
    assert lives(os.getpid(), 1)
    monkeypatch.setattr(os, "kill", forbidden)
    assert lives(1, 1)


def _hidden(process: str) -> tuple[str, int]:
    raise FileNotFoundError(process)
