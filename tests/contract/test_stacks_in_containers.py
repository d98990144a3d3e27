"""What every stack keeps in a container: the same words on the wire, a launch without a path of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from string import Template
from typing import cast

import pytest

from pytest_servebench.interfaces import MemorySharing, Stack
from pytest_servebench.plan import Artifact, LaunchSpec
from pytest_servebench.pool import controls_models
from pytest_servebench.stacks import built_in_stacks
from tests.container_forms import FORMS, Form, each_form, each_form_with_gpu
from tests.doings import doings
from tests.every_stack import LOCAL_FORMATS, cases_of, images, logits_for, shared_cases_of, texts_of
from tests.good_replies import GOOD_REPLIES


def specs_of(form: Form, artifacts: Mapping[str, Artifact]) -> list[LaunchSpec]:
    """Return all ways in which a form is launched."""
    together = [form.deployments] if controls_models(form.contained) else [(one,) for one in form.deployments]
    return [form.contained.launch_spec(some, artifacts) for some in together]


@pytest.mark.parametrize("stack", built_in_stacks(), ids=lambda stack: stack.name)
def test_every_stack_comes_as_a_container(stack: Stack) -> None:
    """Each of the three has a container form for a CPU and a GPU, built or named."""
    assert len([form for form in FORMS.values() if form.process == stack]) == 6


@each_form
def test_is_the_same_stack(form: Form) -> None:
    """Name, formats, payloads and protocols are those of the local process, and nothing is missing here."""
    for what in ("name", "formats", "payloads", "protocols"):
        assert getattr(form.contained, what) == getattr(form.process, what)
    assert form.contained.missing(LOCAL_FORMATS) == ()


@each_form
def test_says_and_reads_the_same_on_the_wire(form: Form) -> None:
    """Every request is the local process's, byte for byte, and replies are read alike."""
    for case in cases_of(form.process):
        some, logits = images(case.items_per_request), logits_for(case)
        assert form.contained.encode(case, some) == form.process.encode(case, some)
        reply = GOOD_REPLIES[form.process.name](case, logits)
        answers = [one.decode(case, reply) for one in (form.contained, form.process)]
        first, second = ([(each.class_ids, each.confidences) for each in one] for one in answers)
        assert first == second
    for case in shared_cases_of(form.process):
        asked = (case, [images(case.items_per_request)], "region")
        mine, theirs = (cast("MemorySharing", one).share(*asked) for one in (form.contained, form.process))
        assert mine.requests == theirs.requests


@each_form
def test_counters_are_asked_for_alike(form: Form) -> None:
    """Counters come from the same place, and models are unloaded by the same words."""
    mine, theirs = controls_models(form.contained), controls_models(form.process)
    for deployment in form.deployments:
        assert form.contained.counters_request(deployment) == form.process.counters_request(deployment)
        if mine is not None and theirs is not None:
            assert mine.unload_requests(deployment) == theirs.unload_requests(deployment)
    assert (mine is None) == (theirs is None)


@each_form
def test_names_an_image(form: Form, artifacts: Mapping[str, Artifact]) -> None:
    """A reference is used as it is; else the image is built from files that are there, on the base given."""
    for spec in specs_of(form, artifacts):
        assert spec.container is not None
        image = spec.container.image
        if form.choice.reference:
            assert (image.name, image.build) == (form.choice.reference, None)
            continue
        assert image.build is not None
        assert image.build.dockerfile_path.is_file()
        lists = [path for name, path in image.build.files.items() if name != "wheels"]
        assert lists
        assert all(path.is_file() for path in lists)
        assert image.build.files.get("wheels") == form.choice.wheels_path
        assert not form.choice.base or image.build.arguments["BASE"] == form.choice.base


@each_form
def test_sees_no_path_of_this_machine(form: Form, artifacts: Mapping[str, Artifact]) -> None:
    """What a server is told lies in its folder or in its image; files come there as files."""
    here = {str(artifact.path.parent) for artifact in artifacts.values()} | {
        str(PurePosixPath(__file__).parents[2])
    }
    for spec in specs_of(form, artifacts):
        texts = texts_of(spec)
        assert not [
            text for text in texts for path in here if path in text or path.replace("$", "$$") in text
        ]
        for file in spec.files:
            assert (file.text is None) != (file.source is None)
            assert file.source is None or file.source.exists()
            assert not PurePosixPath(file.path).is_absolute()
            assert ".." not in PurePosixPath(file.path).parts
        models = [file for file in spec.files if file.source in {a.path for a in artifacts.values()}]
        assert models


@each_form
def test_writes_to_memory_only(form: Form, artifacts: Mapping[str, Artifact]) -> None:
    """Every server may write to /tmp, and is at home there, whoever it runs as."""
    for spec in specs_of(form, artifacts):
        assert spec.container is not None
        assert "/tmp" in spec.container.scratch
        assert spec.environment["HOME"] == "/tmp"


@each_form
def test_asks_for_known_placeholders_only(form: Form, artifacts: Mapping[str, Artifact]) -> None:
    """Templates name the ports of the spec's own roles, the host and the folder; no address is in them."""
    for spec in specs_of(form, artifacts):
        found = [match for text in texts_of(spec) for match in Template.pattern.finditer(text)]
        used = {match["named"] or match["braced"] for match in found} - {None}
        ports = {f"{role}_port" for role in spec.port_roles}
        assert not [match.string for match in found if match["invalid"] is not None]
        assert used == {*ports, "host", "workdir"}
        text = "\n".join(texts_of(spec))
        assert not [word for word in ("0.0.0.0", "[::]", "127.0.0.1", "localhost") if word in text]


@each_form
def test_describes_and_does_nothing(form: Form, artifacts: Mapping[str, Artifact]) -> None:
    """The same deployments give an equal description; nothing is written, started or opened for it."""
    first = specs_of(form, artifacts)
    with doings() as done:
        assert specs_of(form, artifacts) == first
    assert done == []


@each_form_with_gpu
def test_numbers_its_gpu_from_zero(form: Form, artifacts: Mapping[str, Artifact]) -> None:
    """A container is given one GPU, which is its first whatever it is outside."""
    control = controls_models(form.contained)
    said = [text for spec in specs_of(form, artifacts) for text in texts_of(spec)]
    for deployment in form.deployments:
        said.append(form.contained.backend(deployment))
        if control is not None:
            said += [f"{one.path} {one.body.decode()}" for one in control.load_requests(deployment)]
    assert not [
        text for text in said if "cuda:3" in text or "cuda3" in text or '"gpus":[3]' in text.replace(" ", "")
    ]
    assert any("cuda:0" in text.lower() or "CUDAExecutionProvider" in text for text in said)


@each_form
def test_the_engine_named_is_the_images(form: Form) -> None:
    """The backend names the engine that serves, and the device as the container sees it."""
    for deployment in form.deployments:
        words = form.contained.backend(deployment).lower()
        assert {"onnx": "onnxruntime", "pytorch": "torch"}[deployment.format] in words
        assert ("cuda" in words) == (form.device.kind == "cuda")
