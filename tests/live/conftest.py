"""What tests of real servers share: a small model in both formats, images, and the right answers."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Picture

from pytest_servebench.launchers.docker import remove_all
from pytest_servebench.launchers.process import stop_all
from pytest_servebench.models.catalogue import ModelCard
from pytest_servebench.models.preprocessing import normalised, pixels_of
from pytest_servebench.models.reference import reference_logits
from pytest_servebench.plan import Artifact, Deployment, Image, ModelFormat
from pytest_servebench.stacks.fastapi import Fastapi
from tests.engine import the_engine
from tests.serving import Served, start
from tests.tiny_container import LABEL
from tests.tiny_model import build_tiny_model

CARD = ModelCard(name="tiny", summary="the card of tests/tiny_model.py")


@pytest.fixture(scope="session", autouse=True)
def _signals_are_heard() -> None:
    """Have sessions that tests start end with their terminal, and by Ctrl-C.

    Though this one was begun with nohup, or behind a script's ``&``: what is ignored here is there, too.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_worker() -> Iterator[None]:
    """Sessions that tests start are nobody's workers, though this may be one: pytest-benchmark looks."""
    with pytest.MonkeyPatch.context() as patch:
        for told_by_xdist in ("PYTEST_XDIST_WORKER", "COLUMNS"):
            patch.delenv(told_by_xdist, raising=False)
        yield


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Return a working folder with a space in its path."""
    return tmp_path / "a folder"


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """End whatever a test forgets; only for modules without a server of their own."""
    yield
    stop_all()


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """Return the tiny model in both formats by served name, in a folder whose name is hard to quote."""
    folder = tmp_path_factory.mktemp("models with $cash")
    formats = (ModelFormat.ONNX, ModelFormat.PYTORCH)
    return {f"tiny_{each}": build_tiny_model(folder / each.value, each) for each in formats}


@pytest.fixture(scope="session")
def images() -> list[Image]:
    """Return 16 photographs-to-be, each in both forms."""
    return [image_of(seed) for seed in range(16)]


def image_of(seed: int) -> Image:
    """Return an image with a colour gradient of its own."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Picture.fromarray(coarse).resize((320, 280)).save(file, "JPEG")
    pixels = pixels_of(file.getvalue(), CARD)
    return Image(index=seed, jpeg=file.getvalue(), tensor=normalised(pixels, CARD), pixels=pixels)


@pytest.fixture(scope="session")
def logits(artifacts: dict[str, Artifact], images: list[Image]) -> npt.NDArray[np.float32]:
    """Return the model's own answers to the images, each with its own five best classes."""
    rows = reference_logits(artifacts["tiny_onnx"], images)
    assert len({tuple(np.argsort(-row)[:5].tolist()) for row in rows}) == len(images)
    return rows


@pytest.fixture(scope="module", params=[ModelFormat.ONNX, ModelFormat.PYTORCH], ids=str)
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """Return each of FastAPI's deployments in turn, batches of up to 8."""
    return Deployment(stack="fastapi", model="tiny", format=request.param)


@pytest.fixture(scope="module")
def fastapi_server(
    deployment: Deployment, artifacts: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """One FastAPI server of the deployment, in a folder whose name holds what names may hold."""
    workdir = tmp_path_factory.mktemp("with space and $dollar")
    with start(Fastapi(), [deployment], artifacts, workdir) as server:
        yield server


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Return a client of the engine; skip where there is none."""
    with the_engine() as client:
        yield client


@pytest.fixture
def label(client: Any, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Return the labels of a test's containers; none of them may be left, in whatever state."""
    mine = {LABEL: request.node.name}
    yield mine
    remove_all()
    wanted = [f"{key}={value}" for key, value in mine.items()]
    assert client.containers.list(all=True, filters={"label": wanted}) == []
