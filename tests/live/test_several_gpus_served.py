"""Real servers that were asked for several GPUs, on a machine without any: how far that goes is real."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pytest_servebench.launchers.process import ProcessLauncher
from pytest_servebench.plan import Artifact, Case, Deployment, Device, Image, ModelFormat
from pytest_servebench.stacks.fastapi import Fastapi
from pytest_servebench.stacks.torchserve import Torchserve
from tests.serving import Served, start

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="these have to do without a GPU"),
]


def deployment(stack: str, *, threads: int = 1) -> Deployment:
    """Return the tiny model on two GPUs, neither of which is the first."""
    return Deployment(
        stack=stack,
        model="tiny",
        format=ModelFormat.ONNX,
        device=Device("cuda", 1, (2,)),
        max_batch_size=4,
        threads=threads,
    )


def test_two_engines_of_one_server_answer_each_its_own_images(
    work: Path, artifacts: dict[str, Artifact], images: list[Image], logits: npt.NDArray[np.float32]
) -> None:
    """FastAPI with the CPU standing in for both GPUs: two engines side by side, no answer mixed up."""
    served, stack = deployment("fastapi"), Fastapi()
    spec = stack.launch_spec([served], artifacts)
    assert spec.environment["SERVEBENCH_DEVICE"] == "cuda:1,2"
    spec = replace(spec, environment={**spec.environment, "SERVEBENCH_CPU_FALLBACK": "true"})
    with Served(stack, ProcessLauncher().start("fastapi", spec, work)) as server:
        case = Case(deployment=served)
        requests = [stack.encode(case, [image]) for image in images] * 8
        replies, change = server.counted_together(served, requests)
        for number, reply in enumerate(replies):
            (answer,) = stack.decode(case, reply)
            assert answer.logits is not None
            np.testing.assert_allclose(answer.logits, logits[number % 16], atol=1e-3)
        assert (change.images, change.requests) == (128, 128)
        assert b'"backend":"onnxruntime CPUExecutionProvider"' in server.get("/health").body


def test_a_server_that_was_asked_for_two_gpus_does_not_start_on_none(
    work: Path, artifacts: dict[str, Artifact]
) -> None:
    """Without leave to fall back it ends, and its log names the GPU."""
    stack = Fastapi()
    spec = stack.launch_spec([deployment("fastapi")], artifacts)
    with pytest.raises(Exception, match="fastapi") as caught:
        ProcessLauncher().start("fastapi", spec, work)
    assert "cuda:1" in str(caught.value) + (work / "server.log").read_text(encoding="utf-8")


@pytest.fixture(params=[None, "GPU-aaaa,GPU-bbbb,GPU-cccc"], ids=str)
def visible(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Return what the caller's CUDA_VISIBLE_DEVICES says; None: it is not set."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if request.param is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", request.param)
    said: str | None = request.param
    return said


def test_torchserve_gives_each_worker_a_gpu_of_its_own(
    work: Path,
    artifacts: dict[str, Artifact],
    images: list[Image],
    logits: npt.NDArray[np.float32],
    visible: str | None,
) -> None:
    """One worker asks for cuda:1 and one for cuda:2, among the GPUs that were meant, and both answer.

    The frontend cannot read UUIDs: it is told numbers, and counts them without ``nvidia-smi``.
    """
    served, stack = deployment("torchserve"), Torchserve()
    with start(stack, [served], artifacts, work) as server:
        (engine,) = (work / "store").glob("*/engine.py")
        shutil.copy(engine, engine.with_name("real_engine.py"))
        engine.unlink()
        engine.write_text(ON_THE_CPU, encoding="utf-8")
        with server.loaded(served):
            case = Case(deployment=served)
            replies = server.send_together([stack.encode(case, [image]) for image in images] * 4)
            for number, reply in enumerate(replies):
                (answer,) = stack.decode(case, reply)
                assert answer.class_ids[0] == int(logits[number % 16].argmax())
        asked = re.findall(r"asked for (\S+) of (\S+), ran \d+", server.log())
    assert set(asked) == {("cuda:1", visible or "all"), ("cuda:2", visible or "all")}


ON_THE_CPU = """
import os
import real_engine
from real_engine import *

def load_engine(path, *, device, **settings):
    engine = real_engine.load_engine(path, device="cpu", **settings)
    run, ran = engine.run, []
    def counted(batch):
        ran.append(len(batch))
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        print(f"asked for {device} of {seen}, ran {len(ran)}", flush=True)
        return run(batch)
    engine.run = counted
    return engine
"""
"""An engine that says for which GPU it was asked, and computes on the CPU."""
