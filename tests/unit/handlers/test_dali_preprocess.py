"""The DALI pipeline does what the servers' own preprocessing does; it is run where DALI is installed."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2, service_pb2

from pytest_servebench.folders.shipped import shipped
from pytest_servebench.models.catalogue import CATALOGUE
from pytest_servebench.models.images import image_set
from pytest_servebench.plan import Decoder, Image, Payload
from pytest_servebench.stacks import triton_wire

GUEST = shipped("handlers") / "triton_backend" / "dali_preprocess.py"
HAS_DALI = find_spec("nvidia") is not None and find_spec("nvidia.dali") is not None
needs_dali = pytest.mark.skipif(not HAS_DALI, reason="DALI is not installed: pip install nvidia-dali-cuda130")


def loaded(path: Path) -> Any:
    """Return the module in ``path``, as Triton's DALI backend loads it."""
    spec = importlib.util.spec_from_file_location("autoserialize_mod", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def arithmetic() -> Any:
    """Return the guest without DALI."""
    names = ("nvidia", "nvidia.dali", "nvidia.dali.plugin", "nvidia.dali.plugin.triton")
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setitem(sys.modules, name, MagicMock())
        return loaded(GUEST)


@given(width=st.integers(1, 5000), height=st.integers(1, 5000), wanted=st.integers(1, 600))
def test_sides_are_as_long_as_pillows(arithmetic: Any, width: int, height: int, wanted: int) -> None:
    """The shorter side is what the card says, the longer one whole pixels in proportion."""
    shortest = min(width, height)
    sides = [arithmetic.shorter_side(side, shortest, wanted) for side in (width, height)]
    assert min(sides) == wanted
    assert max(sides) == int(wanted * max(width, height) / shortest)


@given(extent=st.integers(224, 5000), crop=st.integers(1, 224))
def test_the_crop_begins_where_pillows_does(arithmetic: Any, extent: int, crop: int) -> None:
    """A crop half a pixel beside it would be another picture."""
    assert arithmetic.centre_start(extent, crop) == round((extent - crop) / 2)


def laid_out(folder: Path, model: str) -> Path:
    """Return the pipeline in a folder with the card beside it, as it lies in a repository."""
    shutil.copy(GUEST, folder / "dali.py")
    keys = ("resize", "crop", "interpolation", "mean", "std")
    (folder / "card.json").write_text(json.dumps({key: getattr(CATALOGUE[model], key) for key in keys}))
    return folder / "dali.py"


def rows_sent(images: Sequence[Image]) -> Any:
    """Return the rows of bytes that our client sends for ``images``, read back from the request."""
    request = triton_wire.grpc_request("m", Payload.JPEG, images, Decoder.DALI)
    message = service_pb2.ModelInferRequest.FromString(request.body)
    return np.frombuffer(message.raw_input_contents[0], np.uint8).reshape(list(message.inputs[0].shape))


@needs_dali
def test_rows_that_are_filled_up_are_the_images_in_them(tmp_path: Path) -> None:
    """The zeros behind an image's end move no pixel, by DALI's CPU operators."""
    images = image_set("synthetic", CATALOGUE["resnet50"], 4, 0)
    rows = rows_sent(images)
    assert len({len(image.jpeg) for image in images}) > 1, "nothing would be filled up"
    module, made = loaded(laid_out(tmp_path, "resnet50")), []
    for fed in (list(rows), [np.frombuffer(image.jpeg, np.uint8) for image in images]):
        pipeline = module.pipeline(decoder="cpu", device_id=None, batch_size=len(images))
        pipeline.feed_input("image", fed)
        made.append(pipeline.run()[0].as_array())
    np.testing.assert_array_equal(*made)


@needs_dali
def test_what_is_serialised_does_the_same(tmp_path: Path) -> None:
    """DALI's backend serialises the pipeline at load and runs that; one for a GPU needs it there."""
    from nvidia.dali.pipeline import Pipeline

    images = image_set("synthetic", CATALOGUE["resnet50"], 2, 0)
    described = loaded(laid_out(tmp_path, "resnet50")).pipeline(
        decoder="cpu", device_id=None, batch_size=len(images)
    )
    serialised = described.serialize()
    made = []
    for pipeline in (described, Pipeline.deserialize(serialized_pipeline=serialised, device_id=None)):
        pipeline.feed_input("image", list(rows_sent(images)))
        made.append(pipeline.run()[0].as_array())
    np.testing.assert_array_equal(*made)


@needs_dali
@pytest.mark.parametrize(("model", "most_levels"), [("resnet50", 1.01), ("efficientnet_lite0", 8.0)])
def test_pixels_are_those_of_pillow(model: str, most_levels: float, tmp_path: Path) -> None:
    """By DALI's CPU operators: within a level of 255 for a bilinear resize, a few for a bicubic one."""
    card = CATALOGUE[model]
    images = image_set("synthetic", card, 8, 0)
    pipeline = loaded(laid_out(tmp_path, model)).pipeline(
        decoder="cpu", device_id=None, batch_size=len(images)
    )
    pipeline.feed_input("image", [np.frombuffer(image.jpeg, np.uint8) for image in images])
    (made,) = pipeline.run()
    apart = np.abs(made.as_array() - np.stack([image.tensor for image in images]))
    levels = apart * (255 * np.array(card.std, np.float32))[:, None, None]
    assert levels.max() <= most_levels
    assert levels.mean() < 0.25


def test_the_shipped_models_fit_together() -> None:
    """The ensemble hands on what the pipeline and the model take, by their names and types."""
    ensemble, dali, model = (
        text_format.Parse(
            (shipped("model_repository") / name / "config.pbtxt").read_text(), model_config_pb2.ModelConfig()
        )
        for name in ("resnet50_onnx_jpeg_dali", "resnet50_preprocess_dali", "resnet50_onnx")
    )
    first, second = ensemble.ensemble_scheduling.step
    assert (first.model_name, second.model_name) == (dali.name, model.name)
    assert (dict(first.input_map), dict(first.output_map)) == ({"image": "image"}, {"pixels": "pixels"})
    assert (dict(second.input_map), dict(second.output_map)) == ({"input": "pixels"}, {"output": "output"})
    assert list(ensemble.input[0].dims) == list(dali.input[0].dims) == [-1]
    assert ensemble.input[0].data_type == dali.input[0].data_type == model_config_pb2.TYPE_UINT8
    assert dali.input[0].allow_ragged_batch, "images of one batch differ in length"
    assert list(dali.output[0].dims) == list(model.input[0].dims)
    assert ensemble.max_batch_size == dali.max_batch_size == model.max_batch_size
    assert (dali.backend, ensemble.platform) == ("dali", "ensemble")
