"""What guests say of their engines, and what becomes of anything else that may come."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.plan import Deployment, Device, ModelFormat
from pytest_servebench.results import Served
from pytest_servebench.samples import Reply
from pytest_servebench.stacks.facts import served_of
from pytest_servebench.stacks.fastapi import Fastapi
from pytest_servebench.stacks.torchserve import Torchserve
from pytest_servebench.stacks.triton import Triton
from tests.every_stack import STACKS

FACTS = {
    "engine": "onnxruntime 1.31.1",
    "provider": "CUDAExecutionProvider",
    "device": "cuda:0",
    "precision": "fp16",
    "nodes": {"CUDAExecutionProvider": 122, "CPUExecutionProvider": 1},
    "options": {"io_binding": "on"},
}
SERVED = Served(**FACTS)  # type: ignore[arg-type]
TINY = Deployment(stack="any", model="tiny", format=ModelFormat.ONNX)
CONFIG = {"name": "tiny_onnx", "backend": "python"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
facts_of_a_kind = st.dictionaries(st.sampled_from([*FACTS, "more"]), json_values)


def replies(*bodies: Any) -> list[Reply]:
    """Return a reply for each of these, as JSON."""
    return [Reply(200, {}, json.dumps(body).encode()) for body in bodies]


def test_what_an_engine_says_is_read_whole() -> None:
    """All of `facts()` of the guests' engine is in the record."""
    assert served_of(FACTS, "here") == SERVED


@given(json_values | facts_of_a_kind)
def test_whatever_comes_is_read_as_far_as_it_can_be(told: Any) -> None:
    """Nothing raises; what is known is text or a count, and where nothing is a reason stands."""
    served = served_of(told, "here")
    words = (served.engine, served.provider, served.device, served.precision)
    assert bool(served.absent) == (not any(words))
    assert all(word is None or (isinstance(word, str) and word) for word in words)
    assert all(type(count) is int and count >= 0 for count in served.nodes.values())
    assert all(type(text) is str for text in served.options.values())


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"status": "healthy", "served": FACTS}, SERVED),
        ({"status": "healthy"}, Served(absent="GET /health does not say what it computes with")),
        (["healthy"], Served(absent="GET /health does not say what it computes with")),
    ],
)
def test_fastapi_tells_in_its_health(body: Any, expected: Served) -> None:
    """An older server, or one that is not ours, does not, and that is said."""
    (request,) = Fastapi().served_requests(TINY)
    assert (request.method, request.path, request.port_role) == ("GET", "/health", "http")
    assert Fastapi().served(TINY, replies(body), "") == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ([{"modelName": "tiny_onnx", "customizedMetadata": FACTS}], SERVED),
        (
            [{"modelName": "tiny_onnx"}],
            Served(absent="customizedMetadata of the handler does not say what it computes with"),
        ),
        ([], Served(absent="customizedMetadata of the handler does not say what it computes with")),
    ],
)
def test_torchserve_hands_the_question_to_its_handler(body: Any, expected: Served) -> None:
    """The management API shows what `describe_handle` returned; a handler of the user's own may have none."""
    (request,) = Torchserve().served_requests(TINY)
    assert (request.method, request.port_role) == ("GET", "management")
    assert request.path == "/models/tiny_onnx?customized=true"
    assert Torchserve().served(TINY, replies(body), "") == expected


@pytest.mark.parametrize(
    ("workers", "one_of"),
    [([{"id": "9000"}], 1), ([{"id": "9000"}, {"id": "9001"}], 2), ([], 3), ("strange", 3), (None, 3)],
)
def test_torchserve_tells_of_one_of_its_workers(workers: Any, one_of: int) -> None:
    """As many as it lists itself; where it lists none, as many as were asked for."""
    several = replace(TINY, device=Device("cuda", 0, (1, 2)))
    body = [{"modelName": "tiny_onnx", "customizedMetadata": FACTS, "workers": workers}]
    assert Torchserve().served(several, replies(body), "") == replace(SERVED, one_of=one_of)


@given(st.data())
def test_no_reply_is_too_strange(data: st.DataObject) -> None:
    """A server that somebody else runs may answer anything: what it serves is then unknown, no error."""
    strange = json_values.map(lambda value: json.dumps(value).encode()) | st.binary()
    for stack in (Fastapi(), Triton(), Torchserve()):
        bodies = [data.draw(strange) for _ in stack.served_requests(TINY)]
        served = stack.served(TINY, [Reply(200, {}, body) for body in bodies], data.draw(st.text()))
        assert served.absent or served.engine


@pytest.mark.parametrize(
    "stack", [stack for stack in STACKS if stack.name != "plainhttp"], ids=lambda s: s.name
)
def test_every_stack_of_ours_tells(stack: Any) -> None:
    """What is served is recorded as measured on each of them."""
    assert stack.served_requests(TINY)
