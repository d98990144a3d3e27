"""Which engine is meant, as the docker command has it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pytest_servebench.errors import LaunchError
from pytest_servebench.launchers.docker.address import DEFAULT_HOST, engine_address
from pytest_servebench.launchers.docker.engine import engine_facts, open_engine


@pytest.fixture
def config(tmp_path: Path) -> dict[str, str]:
    """Return an environment whose docker command has the contexts ``near`` and ``far``, and uses ``near``."""
    for name, host in (("near", f"unix://{tmp_path}/near.sock"), ("far", "tcp://192.0.2.7:2375")):
        folder = tmp_path / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
        folder.mkdir(parents=True)
        text = json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host}}})
        (folder / "meta.json").write_text(text)
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "near"}))
    return {"DOCKER_CONFIG": str(tmp_path)}


def test_the_context_in_use_is_taken(config: dict[str, str]) -> None:
    """``docker context use`` is heard, ``DOCKER_CONTEXT`` before it, and ``DOCKER_HOST`` before both."""
    near = f"unix://{config['DOCKER_CONFIG']}/near.sock"
    assert str(engine_address(config)) == f"{near} (docker context near)"
    far = engine_address({**config, "DOCKER_CONTEXT": "far"})
    assert (far.host, far.is_here) == ("tcp://192.0.2.7:2375", False)
    assert engine_address({**config, "DOCKER_CONTEXT": "default"}).host == DEFAULT_HOST
    asked = engine_address({**config, "DOCKER_CONTEXT": "far", "DOCKER_HOST": "unix:///x"})
    assert str(asked) == "unix:///x"


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"currentContext": ""}', '{"auths": {}}'])
def test_without_a_context_it_is_the_default(tmp_path: Path, text: str | None) -> None:
    """No folder, or one that says nothing of contexts, is the usual socket."""
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    assert engine_address({"DOCKER_CONFIG": str(tmp_path)}).host == DEFAULT_HOST


@pytest.mark.parametrize("host", ["unix:/x/y.sock", "unix:///x/y.sock", "unix://x/y.sock"])
def test_a_socket_is_here_however_its_slashes_are(host: str) -> None:
    """One slash is no other machine."""
    address = engine_address({"DOCKER_HOST": host})
    assert (address.host, address.is_here) == ("unix:///x/y.sock", True)


def test_an_error_names_the_address_and_its_context(config: dict[str, str]) -> None:
    """Who does not reach an engine learns which one was tried, and who chose it."""
    with pytest.raises(LaunchError, match="no Docker engine can be used") as caught:
        open_engine(config, "tiny")
    named = f"unix://{config['DOCKER_CONFIG']}/near.sock (docker context near)"
    assert caught.value.where == named
    assert f"{named}: No such file" in caught.value.seen


def test_a_context_that_is_not_there_is_no_other_engine(config: dict[str, str]) -> None:
    """A wrong name is said; the usual socket is not taken in its place."""
    environment = {**config, "DOCKER_CONTEXT": "none"}
    assert "docker context none has no engine" in engine_facts(environment).absent
    with pytest.raises(LaunchError, match="no Docker engine can be used") as caught:
        open_engine(environment, "tiny")
    assert "docker context ls" in caught.value.seen
