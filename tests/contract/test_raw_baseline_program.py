"""The program that computes in process, as it is run: its answer, its environment, its end."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pytest_servebench import raw_baseline
from pytest_servebench.plan import Artifact, Case, Deployment, Device, Load, ModelFormat
from pytest_servebench.raw_baseline import RawBaselines, computed
from pytest_servebench.results import Endpoint, RawBaseline
from tests.processes import ended
from tests.tiny_model import build_tiny_model

HERE = Endpoint(stack="fastapi", host="127.0.0.1", ports={"http": 1}, launcher="process")
ENGINES = {ModelFormat.ONNX: "onnxruntime CPUExecutionProvider", ModelFormat.PYTORCH: "torch cpu"}


@pytest.fixture(scope="module", params=list(ENGINES), ids=str)
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Return the tiny model in each format, in a folder whose name is hard to quote."""
    return build_tiny_model(tmp_path_factory.mktemp('a "place" with $cash'), request.param)


def case_of(artifact: Artifact, device: Device | None = None) -> Case:
    """Return a short case of it."""
    deployment = Deployment(stack="fastapi", model="tiny", format=artifact.format, threads=1)
    if device is not None:
        deployment = Deployment(stack="fastapi", model="tiny", format=artifact.format, device=device)
    return Case(deployment=deployment, load=Load(concurrency=16, duration_s=0.2))


def baseline(artifact: Artifact, case: Case) -> RawBaseline:
    """Return the baseline of ``case``."""
    return RawBaselines(lambda _: artifact, [case]).of(case, HERE)


def test_a_model_is_computed_beside_this_process(artifact: Artifact) -> None:
    """Images a second of full batches, by the engine that the servers use, with its version."""
    found = baseline(artifact, case_of(artifact))
    assert found.absent == ""
    assert found.images_per_s is not None
    assert found.computed_s is not None
    assert found.batches is not None
    assert found.batches >= 2
    assert found.images_per_s == pytest.approx(8 * found.batches / found.computed_s)
    assert found.engine == ENGINES[artifact.format]
    assert found.versions.keys() >= {"numpy", found.engine.split()[0]}


def test_without_its_device_it_is_absent(artifact: Artifact) -> None:
    """A GPU that is not there is a reason, and no figure of the CPU in its place."""
    found = baseline(artifact, case_of(artifact, Device("cuda", 7)))
    assert found.images_per_s is None
    assert found.absent.startswith("the model does not run in process: ")


CPU_CASE = Case(deployment=Deployment(stack="fastapi", model="tiny", format=ModelFormat.ONNX, threads=1))
ASKED = {"batch_sizes": (1, 8)}


def saying(folder: Path, text: str) -> Path:
    """Return a program that does this."""
    program = folder / "program.py"
    program.write_text(text, encoding="utf-8")
    return program


def test_it_finds_the_module_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PYTHONSAFEPATH is for the user's own programs: with it ours would compute nothing, and quietly."""
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    (tmp_path / "engine.py").write_text("NAME = 'here'\n", encoding="utf-8")
    asks = """
import json
from engine import NAME
print(json.dumps({"batch_size": 8, "images_per_s": 5.0, "engine": NAME}))
"""
    (told, *_) = computed(CPU_CASE.deployment, ASKED, saying(tmp_path, asks))
    assert told == {"batch_size": 8, "images_per_s": 5.0, "engine": "here"}


def test_what_a_killed_program_said_counts(tmp_path: Path) -> None:
    """The sizes it had told of are known, the others have a reason."""
    killed = """
import os, signal
print("a library's greeting")
print('{"batch_size": 1, "images_per_s": 5.0}', flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    told = computed(CPU_CASE.deployment, ASKED, saying(tmp_path, killed))
    assert told == [{"batch_size": 1, "images_per_s": 5.0}, {"batch_size": 8, "absent": "exit code -9"}]


def test_what_nobody_understands_is_not_what_it_said(tmp_path: Path) -> None:
    """Half a line, a size that nobody asked for, no rate, or bytes that are no text: never a traceback."""
    babbling = """
import sys
sys.stdout.buffer.write(b"\\xff\\xfe\\n")
print('{"batch_size": 2, "images_per_s": 5.0}')
print('{"batch_size": [1], "images_per_s": 5.0}')
print('{"batch_size": 1, "images_per_s": NaN}')
print('{"batch_size": 1, "images_per_s": "5"}')
print('{"batch_size": 8, "images_per')
"""
    told = computed(CPU_CASE.deployment, ASKED, saying(tmp_path, babbling))
    assert told == [{"batch_size": size, "absent": "exit code 0"} for size in (1, 8)]


def test_one_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its patience is ours: nobody is left, and nobody who holds its output is waited for."""
    monkeypatch.setattr(raw_baseline, "PATIENCE_S", 2.0)
    hanging = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(os.path.join(os.path.dirname(__file__), "pids"), "w").write(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""
    with pytest.raises(subprocess.TimeoutExpired):
        computed(CPU_CASE.deployment, ASKED, saying(tmp_path, hanging))
    pids = [int(word) for word in (tmp_path / "pids").read_text(encoding="utf-8").split()]
    assert len(pids) == 2
    assert ended(*pids)


def test_its_last_words_are_the_reason(tmp_path: Path) -> None:
    """A package that is not installed is named."""
    lacking = saying(tmp_path, "import no_such_engine")
    (one, _) = computed(CPU_CASE.deployment, ASKED, lacking)
    assert one == {"batch_size": 1, "absent": "ModuleNotFoundError: No module named 'no_such_engine'"}


def test_it_keeps_to_our_cores_and_threads(tmp_path: Path) -> None:
    """A lane's cores are inherited; threads and their waiting are those of the FastAPI server."""
    looking = """
import json, os
told = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")}
print(json.dumps({"batch_size": 1, "images_per_s": 5.0, "cores": list(os.sched_getaffinity(0)), **told}))
"""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})
    try:
        told = computed(CPU_CASE.deployment, ASKED, saying(tmp_path, looking))[0]
    finally:
        os.sched_setaffinity(0, mine)
    assert told["cores"] == [min(mine)]
    assert (told["OMP_NUM_THREADS"], told["OMP_WAIT_POLICY"]) == ("1", "PASSIVE")
