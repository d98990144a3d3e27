"""What every stack keeps: the three that come with the package, and the one in the documentation."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from string import Template

import pytest

from pytest_servebench.interfaces import Stack
from pytest_servebench.plan import (
    Artifact,
    ModelFormat,
    Payload,
    WireProtocol,
)
from pytest_servebench.pool import controls_models
from pytest_servebench.sharing.shared_memory import share
from tests.doings import doings
from tests.every_stack import (
    LOCAL_FORMATS,
    cases_of,
    deployments_of,
    each_stack,
    images,
    logits_for,
    requests_of,
    shared_cases_of,
    specs_of,
    texts_of,
)
from tests.good_replies import GOOD_REPLIES

ENGINES = {ModelFormat.ONNX: "onnxruntime", ModelFormat.PYTORCH: "torch"}
HEAVY = ("torch", "onnxruntime", "tritonclient", "grpc", "ts", "pytriton")
ROOT = Path(__file__).parents[2]


@each_stack
def test_offers_words(stack: Stack) -> None:
    """A stack has a name that can be typed after --stack=, and offers something of each vocabulary."""
    assert stack.name.isidentifier()
    assert stack.name == stack.name.lower()
    for offered, vocabulary in (
        (stack.formats, ModelFormat),
        (stack.payloads, Payload),
        (stack.protocols, WireProtocol),
    ):
        assert isinstance(offered, frozenset)
        assert offered
        assert all(type(word) is vocabulary for word in offered)


@each_stack
def test_misses_nothing_here(stack: Stack) -> None:
    """What a stack lacks is a tuple, empty where everything is installed."""
    for model_format in stack.formats.intersection(LOCAL_FORMATS):
        assert stack.missing((model_format,)) == ()


@each_stack
@pytest.mark.parametrize("installed", [True, False])
def test_looks_for_what_is_missing_without_importing_it(stack: Stack, installed: bool) -> None:
    """To ask what is missing loads no heavy library; without any it names remedies."""
    home = type(stack).__module__
    program = (
        "import importlib.util, sys\n"
        + ("" if installed else "importlib.util.find_spec = lambda *_: None\n")
        + f"from {home} import {type(stack).__name__} as stack\n"
        "for piece in stack().missing(tuple(stack().formats)):\n"
        "    print('PIECE', bool(piece.what and piece.remedy))\n"
        f"print('HEAVY', *sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    *pieces, heavy = done.stdout.split("\n")[:-1]
    assert heavy == "HEAVY"
    assert set(pieces) <= {"PIECE True"}
    assert pieces or installed


@each_stack
def test_names_the_engine(stack: Stack) -> None:
    """The backend names the engine that serves, which is not the stack."""
    for deployment in deployments_of(stack):
        assert ENGINES[deployment.format] in stack.backend(deployment).lower()


@each_stack
def test_describes_a_launch_alike_every_time(stack: Stack, artifacts: Mapping[str, Artifact]) -> None:
    """The same deployments give an equal launch spec."""
    assert specs_of(stack, artifacts) == specs_of(stack, artifacts)


@each_stack
def test_describes_and_does_nothing(stack: Stack, artifacts: Mapping[str, Artifact]) -> None:
    """A stack writes no file, starts no process and opens no socket, whatever it is asked."""

    def ask_everything() -> None:
        specs_of(stack, artifacts)
        for deployment in deployments_of(stack):
            requests_of(stack, deployment)
        for case in cases_of(stack):
            stack.encode(case, images(case.items_per_request))
            stack.decode(case, GOOD_REPLIES[stack.name](case, logits_for(case)))
        for case in shared_cases_of(stack):
            share(stack, case, [images(case.items_per_request)])

    ask_everything()  # what is imported lazily is imported now
    with doings() as done:
        ask_everything()
    assert done == []


@each_stack
def test_asks_for_known_placeholders_only(stack: Stack, artifacts: Mapping[str, Artifact]) -> None:
    """Templates name the ports of the spec's own roles, the host and the folder, and nothing else."""
    for spec in specs_of(stack, artifacts):
        ports = {f"{role}_port" for role in spec.port_roles}
        found = [match for text in texts_of(spec) for match in Template.pattern.finditer(text)]
        used = {match["named"] or match["braced"] for match in found} - {None}
        assert not [match.string for match in found if match["invalid"] is not None]
        assert used <= {*ports, "host", "workdir"}
        assert used >= {*ports, "host"}, "a port or the host is chosen and not used"


@each_stack
def test_listens_where_it_is_told(stack: Stack, artifacts: Mapping[str, Artifact]) -> None:
    """No address but the launcher's host stands in a launch spec: nothing listens to a network by itself."""
    for spec in specs_of(stack, artifacts):
        text = "\n".join(texts_of(spec))
        assert not [word for word in ("0.0.0.0", "[::]", "127.0.0.1", "localhost") if word in text]


@each_stack
def test_can_be_launched(stack: Stack, artifacts: Mapping[str, Artifact]) -> None:
    """The command exists, every file has one origin that is there, readiness is asked on a port it has."""
    for spec in specs_of(stack, artifacts):
        assert shutil.which(spec.argv[0].replace("$$", "$"))
        assert spec.ready.port_role in spec.port_roles
        assert spec.ready.path.startswith("/")
        assert spec.name == PurePosixPath(spec.name).name
        for file in spec.files:
            assert (file.text is None) != (file.source is None)
            assert file.source is None or file.source.exists()
            assert not PurePosixPath(file.path).is_absolute()
            assert ".." not in PurePosixPath(file.path).parts


@each_stack
def test_controls_models_by_name(stack: Stack, artifacts: Mapping[str, Artifact]) -> None:
    """A stack that loads and unloads models names them, to ports that its server has."""
    control = controls_models(stack)
    for deployment in deployments_of(stack):
        name = deployment.served_name
        roles = specs_of(stack, artifacts)[0].port_roles
        assert all(request.port_role in roles for request in requests_of(stack, deployment))
        if control is not None:
            for requests in (control.load_requests(deployment), control.unload_requests(deployment)):
                assert requests
                assert all(name in request.path + request.body.decode() for request in requests)
