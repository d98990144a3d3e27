"""How the real FastAPI server ends, and how it refuses to begin."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.errors import ServerExitedError
from pytest_servebench.plan import Artifact, Case, Deployment, Image, ModelFormat
from pytest_servebench.stacks.fastapi import Fastapi
from tests.processes import exit_code_of
from tests.serving import start

pytestmark = pytest.mark.live

STACK = Fastapi()
FORMATS = (ModelFormat.ONNX, ModelFormat.PYTORCH)


def deployment_of(model_format: ModelFormat) -> Deployment:
    """Return the tiny model in a format, batches of up to 8."""
    return Deployment(stack="fastapi", model="tiny", format=model_format)


def ended_with(artifact: Artifact, work: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Return exit code and log of a server that does not come up."""
    served = deployment_of(artifact.format)
    with pytest.raises(ServerExitedError) as caught:
        start(STACK, [served], {served.served_name: artifact}, work, environment)
    _command, _, log = (work / "server.log").read_text(encoding="utf-8").partition("\n")
    return caught.value.exit_code, log


def test_term_answers_what_is_under_way(
    artifacts: dict[str, Artifact], images: list[Image], work: Path
) -> None:
    """A server that is told to end answers the requests it took, held ones too, and is gone."""
    case = Case(deployment=replace(deployment_of(ModelFormat.ONNX), max_queue_delay_ms=1500.0))
    with start(STACK, [case.deployment], artifacts, work, {"SERVEBENCH_HOLD": "always"}) as server:
        with ThreadPoolExecutor(3) as clients:
            pending = [clients.submit(server.send, STACK.encode(case, [image])) for image in images[:3]]
            while json.loads(server.get("/health").body)["queue_size"] < 3:
                MonotonicClock().sleep_s(0.01)
            os.kill(server.pid, signal.SIGTERM)
            assert [each.result().status for each in pending] == [200] * 3
        assert exit_code_of(server.running, within_s=15) in {0, -signal.SIGTERM}
        assert "Traceback" not in server.log()


def test_wrong_settings_end_the_server_with_the_reason(artifacts: dict[str, Artifact], work: Path) -> None:
    """A wrong setting is one readable message and an exit code, not a traceback."""
    code, log = ended_with(artifacts["tiny_onnx"], work, {"SERVEBENCH_MAX_BATCH_SIZE": "none"})
    assert code != 0
    assert log.startswith("the server's settings are wrong:\n  SERVEBENCH_MAX_BATCH_SIZE: Input should be")
    assert "Traceback" not in log


@pytest.mark.parametrize("model_format", FORMATS, ids=str)
def test_corrupt_model_ends_the_server_with_the_reason(
    artifacts: dict[str, Artifact], work: Path, model_format: ModelFormat, tmp_path: Path
) -> None:
    """A model file that is no model is named in the log's last lines, and the server ends."""
    artifact = artifacts[f"tiny_{model_format}"]
    broken = tmp_path / artifact.path.name
    broken.write_bytes(b"not a model")
    code, log = ended_with(replace(artifact, path=broken), work, {})
    assert code != 0
    assert re.search(f"cannot load {re.escape(str(broken))}: .+", log[-800:])


def has_cuda() -> bool:
    """Return whether onnxruntime here can use a GPU."""
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.mark.skipif(has_cuda(), reason="onnxruntime here has a CUDA provider")
@pytest.mark.parametrize("model_format", FORMATS, ids=str)
def test_gpu_that_is_not_there_is_an_error_unless_the_cpu_may_stand_in(
    artifacts: dict[str, Artifact], work: Path, model_format: ModelFormat
) -> None:
    """Nothing falls back silently: without leave it ends, with leave /health says what serves."""
    cuda = {"SERVEBENCH_DEVICE": "cuda"}
    code, log = ended_with(artifacts[f"tiny_{model_format}"], work, cuda)
    assert code != 0
    assert "cannot load" in log
    deployment = deployment_of(model_format)
    with start(STACK, [deployment], artifacts, work, {**cuda, "SERVEBENCH_CPU_FALLBACK": "true"}) as server:
        assert json.loads(server.get("/health").body)["backend"] == STACK.backend(deployment)
