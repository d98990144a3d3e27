"""What the documentation tells a user to type is understood, also where it would take minutes."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Imported here, so that sessions inside this process find it there and do not import it each anew.
import pytest_servebench.desk  # noqa: F401 (see above)
from tests.doc_blocks import PAGES, Block, blocks_of
from tests.doc_commands import run, user_folder
from tests.engine import the_engine
from tests.nvml_stand_in import StandInGpu, build_nvml_stand_in

COLLECTS = "-p no:cacheprovider -p no:hypothesispytest --collect-only -q"
USABLE = """
from pytest_servebench import surroundings
surroundings._cuda_packages = lambda: True  # nothing computes: the cases are only collected
"""

PLANNED = [
    pytest.param(block, command, marks=[pytest.mark.docker] if "docker" in block.words else [])
    for page in PAGES
    for block in blocks_of(page)
    if "plan" in block.words
    for command in block.commands
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Return a folder as a user has it; a collection changes nothing in it."""
    with user_folder() as path:
        yield path


def with_two_gpus(folder: Path) -> dict[str, str]:
    """Return the environment of a machine with two GPUs and what computes on them."""
    stand_in = build_nvml_stand_in(folder)
    stand_in.say(StandInGpu(name="NVIDIA H100 80GB HBM3"), StandInGpu(name="NVIDIA H100 80GB HBM3"))
    (folder / "usable_gpus.py").write_text(USABLE, encoding="utf-8")
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH", ""))))
    asks = {"PYTHONPATH": path, "PYTEST_ADDOPTS": f"{COLLECTS} -p usable_gpus"}
    return {**stand_in.environment(), **asks}


@pytest.fixture
def collect(
    folder: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[int, str]]:
    """Return what types a command here, where all is imported already: its exit code, and what it said."""

    def in_this_process(command: str) -> tuple[int, str]:
        program, *words = shlex.split(command)
        assert program == "pytest"
        for benchmark in (folder / "benchmarks").glob("test_*.py"):
            # A test of ours of that name may have been imported: tests/unit/test_capacity.py.
            monkeypatch.delitem(sys.modules, benchmark.stem, raising=False)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("PYTEST_ADDOPTS", COLLECTS)
        result = pytester.runpytest_inprocess(*words)
        return int(result.ret), result.stdout.str() + result.stderr.str()

    return in_this_process


@pytest.mark.parametrize(("block", "command"), PLANNED, ids=str)
def test_a_long_command_of_a_page_is_understood(
    block: Block, command: str, collect: Callable[[str], tuple[int, str]], folder: Path, tmp_path: Path
) -> None:
    """A command that would take minutes is collected: its options are right and yield cases."""
    if "docker" in block.words:
        with the_engine():
            pass
    if "gpu" in block.words:
        done = run(command, folder, **with_two_gpus(tmp_path))
        exit_code, said = done.returncode, done.stdout
    else:
        exit_code, said = collect(command)
    assert exit_code == 0, f"{block}: {command}\n{said}"
    assert re.search(r"::test_\w+\[\w+-\w+-", said), said
