"""The lines that `servebench up` prints are typed as they are, and answer with the right class.

Containers listen where local processes do, and serve the same models under the same names:
so these are asked.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pytest_servebench.compose.services import curl_line
from pytest_servebench.interfaces import Stack
from pytest_servebench.plan import Artifact, Deployment, Image, ModelFormat
from pytest_servebench.pool import controls_models
from pytest_servebench.stacks import built_in_stacks
from tests.serving import start

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


def class_in(stack: str, said: str) -> int:
    """Return the best class that a reply names."""
    if stack == "triton":
        found = re.fullmatch(r"class (\d+)\n", said)
        assert found, said
        return int(found[1])
    (best, *_) = json.loads(said)["predictions"]
    return int(best["class_id"])


@pytest.mark.parametrize("stack", built_in_stacks(), ids=lambda stack: stack.name)
def test_the_line_that_is_printed_asks_the_stack(
    stack: Stack,
    artifacts: dict[str, Artifact],
    images: list[Image],
    logits: npt.NDArray[np.float32],
    tmp_path: Path,
) -> None:
    """With a photo.jpg in the folder it prints the class that the model finds."""
    deployment = Deployment(stack=stack.name, model="tiny", format=ModelFormat.ONNX)
    (tmp_path / "photo.jpg").write_bytes(images[0].jpeg)
    with start(stack, [deployment], artifacts, tmp_path / "work") as server:
        if controls_models(stack):
            server.load(deployment)
        line = curl_line(stack.name, deployment.served_name, server.running.endpoint.ports["http"])
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert class_in(stack.name, done.stdout) == int(np.argmax(logits[0])), done.stdout
