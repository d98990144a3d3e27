"""Cores: which belong together, and that binding reaches every thread and everything started."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pytest_servebench.leasing.cores import bind, count_cores, narrowed, physical_cores


def test_cores_of_this_machine_are_those_it_may_use() -> None:
    """Each once, whatever the topology says."""
    found = sorted(number for siblings in physical_cores() for number in siblings)
    assert found == sorted(os.sched_getaffinity(0))
    assert count_cores() > found[-1]


def test_siblings_are_told_by_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logical cores with the same siblings are one physical core; one of which nothing is told is its own."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5, 9})
    for number, siblings in {0: "0,2", 1: "1,3", 2: "0,2"}.items():
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings, encoding="ascii")
    assert physical_cores(tmp_path) == ((0, 2), (1,), (5,), (9,))


def test_a_process_that_is_kept_to_some_cores_knows_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its containers have to be told; one that may use all that are online is kept to none."""
    monkeypatch.setattr(os, "sysconf", {"SC_NPROCESSORS_ONLN": 4}.__getitem__)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 1})
    assert narrowed() == (1, 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert narrowed() == ()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_binding_reaches_threads_that_run_and_processes_to_come() -> None:
    """A thread that was there before is bound too; undone, all is as before."""
    before = os.sched_getaffinity(0)
    core, end = max(before), threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        undo = bind({core})
        try:
            assert os.sched_getaffinity(thread.native_id or 0) == {core}
            seen = subprocess.check_output(
                [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"], text=True
            )
            assert seen.strip() == str({core})
        finally:
            undo()
        assert os.sched_getaffinity(0) == os.sched_getaffinity(thread.native_id or 0) == before
    finally:
        end.set()
        thread.join()
