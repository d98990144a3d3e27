"""The command ``servebench`` on projects that are up: ending them, their engine, ports and volumes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_servebench.launchers.docker.engine import EngineFacts
from tests.servebench_command import Command, command_in


@pytest.fixture
def servebench(tmp_path: Path) -> Command:
    """Return the command where everything is there."""
    return command_in(tmp_path)


def test_down_ends_what_is_up(servebench: Command) -> None:
    """Every profile is named, so that nothing is passed over; a second `down` has nothing to do."""
    servebench("up", "--stack", "fastapi")
    assert servebench("down", "--volumes").exit_code == 0
    assert servebench.stand.told("down") == [["down", "--remove-orphans", "--volumes"]]
    words = servebench.stand.calls[-1]["words"]
    assert isinstance(words, list)
    assert words.count("--profile") == 4
    again = servebench("down")
    assert (again.exit_code, again.output) == (
        0,
        "nothing is up: no project servebench was started by this user\n",
    )


STORED = ("servebench_grafana", "servebench_prometheus")


def test_down_says_what_it_keeps(servebench: Command) -> None:
    """What Prometheus has stored stays, and the command that removes it is told; after `down` too."""
    servebench("up", "--stack", "fastapi", "--monitoring=prometheus")
    done = servebench("down", volumes=lambda *_: STORED)
    assert servebench.stand.told("down") == [["down", "--remove-orphans"]]
    assert done.output == (
        "kept: servebench_grafana, servebench_prometheus; remove what they hold: servebench down --volumes\n"
    )
    again = servebench("down", "--volumes", remove_volumes=lambda *_: STORED)
    assert again.exit_code == 0
    assert again.output.endswith("removed: servebench_grafana, servebench_prometheus\n")


@pytest.mark.parametrize(
    ("before", "words"),
    [((), ["down", "--remove-orphans", "--volumes"]), (STORED, ["down", "--remove-orphans"])],
)
def test_volumes_that_nobody_has_used_go(
    servebench: Command, before: tuple[str, ...], words: list[str]
) -> None:
    """Some versions of compose make them where nothing watches; those of an earlier project stay."""
    servebench("up", "--stack", "fastapi", volumes=lambda *_: before)
    # A second `up` finds the volumes that the first has made.
    servebench("up", "--stack", "fastapi", volumes=lambda *_: STORED)
    assert servebench("down").exit_code == 0
    assert servebench.stand.told("down") == [words]


def test_without_an_engine_nothing_is_touched(servebench: Command) -> None:
    """It is said once, with where it was looked for and what to do; before a model is exported."""
    environment = {**servebench.tools.environment, "DOCKER_HOST": "unix:///nowhere.sock"}
    absent = "no Docker engine can be used: unix:///nowhere.sock: No such file or directory"
    done = servebench(
        "up", "--stack", "fastapi", environment=environment, engine=lambda _: EngineFacts(absent=absent)
    )
    assert done.exit_code == 1
    assert done.output.count("no Docker engine can be used") == 2
    assert "where: unix:///nowhere.sock" in done.output
    assert "docker info" in done.output
    assert not servebench.state.exists()
    assert servebench.stand.calls == []


def test_a_project_stays_with_its_engine(servebench: Command) -> None:
    """Compose is told where images were built, whatever Docker's context is, and again by `down`."""
    environment = {**servebench.tools.environment, "DOCKER_HOST": "unix:///mine.sock"}
    servebench("up", "--stack", "fastapi", environment=environment)
    servebench("down", environment={**servebench.tools.environment, "DOCKER_CONTEXT": "elsewhere"})
    on_it = [call for call in servebench.stand.calls if call["words"] != ["version"]]
    assert {(call["engine"], call["context"]) for call in on_it} == {("unix:///mine.sock", None)}


def test_compose_has_the_engine_of_the_context(servebench: Command, tmp_path: Path) -> None:
    """Images are built where the user's context says, and compose is told that address."""
    name = hashlib.sha256(b"mine").hexdigest()
    meta = tmp_path / "docker" / "contexts" / "meta" / name / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": "mine", "Endpoints": {"docker": {"Host": "unix:///mine.sock"}}}))
    contexts = {"DOCKER_CONFIG": str(tmp_path / "docker"), "DOCKER_CONTEXT": "mine"}
    done = servebench("up", "--stack", "fastapi", environment={**servebench.tools.environment, **contexts})
    assert done.exit_code == 0, done.output
    assert servebench.stand.calls[-1]["engine"] == "unix:///mine.sock"
    assert servebench.project().settings["DOCKER_HOST"] == "unix:///mine.sock"


def test_a_port_that_is_taken_is_told_before_anything_is_made(servebench: Command) -> None:
    """The message has the variable that chooses another port; nothing is written or started."""
    done = servebench("up", "--stack", "triton", port_taken=lambda port: port == 8011)
    assert done.exit_code == 1
    assert "port 8011, for triton's grpc, is taken" in done.output
    assert "TRITON_GRPC_PORT=18011 servebench up" in done.output
    assert not servebench.state.exists()


def test_the_ports_of_a_project_are_its_own(servebench: Command) -> None:
    """A second `up` takes the place of the first; another project's ports are told with its name."""
    assert servebench("up", "--stack", "fastapi", "--project", "one").exit_code == 0
    again = servebench("up", "--stack", "fastapi", "--project", "one", port_taken=lambda _: True)
    assert again.exit_code == 0, again.output
    done = servebench("up", "--stack", "fastapi", "--project", "two", port_taken=lambda _: True)
    assert done.exit_code == 1
    assert "the project one has it" in done.output
    assert "servebench down --project one" in done.output


def test_dollars_are_left_as_they_are(servebench: Command, tmp_path: Path) -> None:
    """What compose reads has every ``$`` doubled; a folder goes by the environment, taken as it is."""
    folder = tmp_path / "$HOME and ${A}"
    artifact = servebench.tools.artifact(None)  # type: ignore[arg-type]
    model = tmp_path / "a $MODEL"
    artifact.path.parent.rename(model)
    moved = replace(
        artifact,
        path=model / "model.onnx",
        card_path=model / "card.json",
        labels_path=model / "labels.json",
    )
    words = ("up", "--stack", "fastapi,torchserve,triton", "--folder", str(folder))
    done = servebench(*words, artifact=lambda _: moved)
    assert done.exit_code == 0, done.output
    assert servebench.stand.calls[-1]["folder"] == str(folder)
    text = (folder / "serving.json").read_text()
    assert "$$" in text
    assert "$" not in text.replace("$$", "")


def test_ps_and_logs_are_of_the_project(servebench: Command) -> None:
    """They say what compose says of what is up; of what is not, what could be asked for."""
    assert servebench("ps").exit_code == 2
    servebench("up", "--stack", "fastapi")
    assert servebench("ps").exit_code == 0
    assert servebench("logs", "fastapi", "--tail", "5").exit_code == 0
    assert servebench.stand.told("logs") == [["logs", "--tail=5", "fastapi"]]
    done = servebench("logs", "triton")
    assert done.exit_code == 2
    assert "triton is not up" in done.output
    assert "use one of: fastapi" in done.output


def test_two_projects_can_be_up(servebench: Command) -> None:
    """Each has a name, files and ports of its own, and ends by its name."""
    servebench("up", "--stack", "fastapi")
    environment = {**servebench.tools.environment, "FASTAPI_PORT": "18000"}
    done = servebench("up", "--stack", "fastapi", "--project", "other", environment=environment)
    assert done.output.endswith("end it: servebench down --project other\n")
    assert servebench.project("other").stacks == {"fastapi": {"http": 18000}}
    assert servebench.project("other").folder != servebench.project().folder
