"""The command ``servebench``: what it writes, starts and prints, and how it refuses."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pytest_servebench.cli import main
from pytest_servebench.compose import project as books
from pytest_servebench.compose.command import find_compose
from pytest_servebench.compose.project import STATE_VARIABLE
from pytest_servebench.compose.services import PASSWORD
from pytest_servebench.compose.tools import Tools
from pytest_servebench.launchers.docker.engine import EngineFacts
from pytest_servebench.launchers.readiness import ProbeAnswer
from pytest_servebench.plan import Artifact, ModelFormat
from tests.compose_stand_in import Stand, stand_in
from tests.jumping_clock import JumpingClock
from tests.tiny_model import CARD


@dataclass(frozen=True, slots=True)
class Command:
    """The command, run in this process with tools of the test's."""

    tools: Tools
    stand: Stand
    state: Path

    def __call__(self, *words: str, **changes: Any) -> Result:
        """Return how a call ended; ``changes`` are of the tools."""
        return CliRunner().invoke(main, list(words), obj=replace(self.tools, **changes))

    def project(self, name: str = "servebench") -> books.Project:
        """Return what is known of a project that is up."""
        known = books.find(name, self.state)
        assert known is not None
        return known


@pytest.fixture
def servebench(tmp_path: Path) -> Command:
    """Return the command where everything is there: a model, images, compose, servers that answer."""
    import click

    stand = stand_in(tmp_path / "bin")
    model = tmp_path / "model"
    model.mkdir()
    for name, text in (("model.onnx", "onnx"), ("card.json", json.dumps(CARD)), ("labels.json", "[]")):
        (model / name).write_text(text, encoding="utf-8")
    artifact = Artifact(
        model="resnet50",
        format=ModelFormat.ONNX,
        path=model / "model.onnx",
        card_path=model / "card.json",
        labels_path=model / "labels.json",
        sha256="",
        weights="",
    )
    state = tmp_path / "state"
    tools = Tools(
        environment={STATE_VARIABLE: str(state), "PATH": str(stand.path.parent)},
        say=click.echo,
        artifact=lambda _: artifact,
        image=lambda image, _: f"{image.name}:here",
        engine=lambda _: EngineFacts(version="20.10"),
        volumes=lambda *_: (),
        remove_volumes=lambda *_: (),
        port_taken=lambda _: False,
        clock=JumpingClock(),
        probe=lambda *_: ProbeAnswer(200, "OK"),
    )
    return Command(tools, stand, state)


def test_up_starts_what_is_asked_and_says_what_comes_next(servebench: Command) -> None:
    """Everything is written, started and waited for; then there is a line for every thing one can do."""
    done = servebench("up", "--stack", "triton,fastapi", "--monitoring=prometheus", "--batch-size", "4")
    assert done.exit_code == 0, done.output
    assert "device: cpu (the Docker engine has no NVIDIA runtime)" in done.output
    assert "curl -F file=@photo.jpg http://127.0.0.1:8000/classify" in done.output
    assert (
        "measure it: pytest benchmarks '--stack=triton=http://127.0.0.1:8010?grpc=8011&metrics=8012'"
        " --serve-format=onnx --serve-batch-size=4"
    ) in done.output
    assert "Prometheus: http://127.0.0.1:9090" in done.output
    assert done.output.endswith("end it: servebench down\n")
    assert servebench.stand.told("up") == [["up", "--detach", "triton", "fastapi", "prometheus"]]
    assert servebench.project().stacks["triton"] == {"http": 8010, "grpc": 8011, "metrics": 8012}


def test_what_servers_read_is_in_the_folder(servebench: Command, tmp_path: Path) -> None:
    """The model, its handlers and the command line that compose is told lie in the folder that was named."""
    folder = tmp_path / "a folder"
    done = servebench("up", "--stack", "fastapi,torchserve", "--folder", str(folder), "--threads", "3")
    assert done.exit_code == 0, done.output
    assert (folder / "fastapi" / "model" / "model.onnx").read_text() == "onnx"
    assert (folder / "fastapi" / "handlers" / "fastapi_app" / "app.py").is_file()
    assert "load_models=resnet50_onnx=" in (folder / "torchserve" / "config.properties").read_text()
    services = json.loads((folder / "serving.json").read_text())["services"]
    assert services["fastapi"]["image"] == "fastapi:here"
    assert services["fastapi"]["environment"]["SERVEBENCH_THREADS"] == "3"
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
    assert servebench.stand.calls[-1]["folder"] == str(folder)


def test_a_folder_may_be_named_from_here(
    servebench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path that begins with ``..`` is as good as any; the books have it in full."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    done = servebench("up", "--stack", "torchserve", "--folder", "../rel/out")
    assert done.exit_code == 0, done.output
    assert servebench.project().folder == str(tmp_path / "rel" / "out")


def test_nobody_else_may_write_or_look(servebench: Command) -> None:
    """The state folder is its user's alone, and no folder in it is one that all may write to."""
    assert servebench("up", "--stack", "torchserve,triton,fastapi").exit_code == 0
    assert servebench.state.stat().st_mode & 0o777 == 0o700
    folders = [path for path in servebench.state.rglob("*") if path.is_dir()]
    assert {"tmp", "logs"} <= {path.name for path in folders}
    assert [path for path in folders if path.stat().st_mode & 0o002] == []


def test_a_state_folder_that_cannot_be_is_an_error(servebench: Command, tmp_path: Path) -> None:
    """The message has the folder and the variable that names another."""
    (tmp_path / "file").write_text("")
    environment = {**servebench.tools.environment, STATE_VARIABLE: str(tmp_path / "file" / "state")}
    done = servebench("up", "--stack", "fastapi", environment=environment)
    assert done.exit_code == 1
    assert f"where: {tmp_path / 'file' / 'state'}" in done.output
    assert "SERVEBENCH_STATE=FOLDER" in done.output


def test_no_password_is_written_anywhere(servebench: Command, tmp_path: Path) -> None:
    """Grafana's password goes to compose through the environment, and into no file and no line."""
    environment = {**servebench.tools.environment, PASSWORD: "hunter22"}
    done = servebench("up", "--stack", "fastapi", "--monitoring", environment=environment)
    assert done.exit_code == 0, done.output
    assert "Grafana: http://127.0.0.1:3000/d/servebench" in done.output
    assert {call["password"] for call in servebench.stand.calls} >= {"hunter22"}
    assert "hunter22" not in done.output
    written = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert not [path for path in written if b"hunter22" in path.read_bytes()]


def test_grafana_without_a_password_is_refused_at_once(servebench: Command) -> None:
    """Nothing is written and nothing started; the message says what to set."""
    done = servebench("up", "--stack", "fastapi", "--monitoring")
    assert done.exit_code == 2
    assert f"{PASSWORD} is not set" in done.output
    assert not servebench.state.exists()
    assert servebench.stand.calls == []


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--stack", "tritn"), "did you mean triton?"),
        (("--stack", "fastapi", "--device", "gpu"), "--device does not know 'gpu'"),
        (("--stack", "fastapi", "--model", "alexnet"), "'alexnet' is not one of"),
        (("--stack", "fastapi", "--format", "tensorrt"), "'tensorrt' is not one of"),
        (("--stack", "fastapi", "--batch-size", "0"), "0 is not in the range"),
        (("--stack", "fastapi", "--monitoring=zabbix"), "'zabbix' is not one of"),
        ((), "Missing option '--stack'"),
    ],
)
def test_wrong_words_are_refused(servebench: Command, words: tuple[str, ...], what: str) -> None:
    """The message names the option and what it takes, with the exit code of wrong options."""
    done = servebench("up", *words)
    assert done.exit_code == 2
    assert what in done.output


@pytest.mark.parametrize("name", ["My Proj", "../../../victim", "-x", "", "a/b", "a.b", "a\n", "a" * 101])
@pytest.mark.parametrize("command", [("up", "--stack", "fastapi"), ("down",), ("ps",), ("logs",)])
def test_a_name_that_compose_would_change_is_refused(
    servebench: Command, command: tuple[str, ...], name: str
) -> None:
    """Two names are two projects, and none leads out of the state folder."""
    done = servebench(*command, "--project", name)
    assert done.exit_code == 2
    assert "Invalid value for '--project'" in done.output
    assert "is no name of a project" in " ".join(done.output.split())
    assert not servebench.state.exists()


def test_without_compose_nothing_is_touched(servebench: Command) -> None:
    """The message says what to install; no file is written before that is known."""
    servebench.stand.path.unlink()
    done = servebench("up", "--stack", "fastapi", find_compose=find_compose)
    assert done.exit_code == 1
    assert "Docker Compose is not installed" in done.output
    assert not servebench.state.exists()


def test_a_gpu_is_the_one_that_was_asked_for(servebench: Command) -> None:
    """The GPU goes to the reservation by its index, and is its container's first."""
    assert servebench("up", "--stack", "fastapi", "--device", "cuda:2").exit_code == 0
    project = servebench.project()
    assert Path(project.files[0]).name == "compose.yaml"
    assert project.settings["SERVEBENCH_GPU"] == "2"
    services = json.loads(Path(project.files[1]).read_text())["services"]
    assert services["fastapi"]["environment"]["SERVEBENCH_DEVICE"] == "cuda:0"


def test_write_only_starts_nothing(servebench: Command, tmp_path: Path) -> None:
    """The files are there, and the command that would start them is printed; no project is up."""
    folder = tmp_path / "a folder"
    done = servebench("up", "--stack", "fastapi", "--write-only", "--folder", str(folder))
    assert done.exit_code == 0
    assert (folder / "fastapi" / "model" / "model.onnx").is_file()
    words = shlex.split(done.output.splitlines()[-1])
    assert f"SERVEBENCH_FOLDER={folder}" in words
    assert str(folder / "serving.json") in words
    assert words[-3:] == ["up", "--detach", "fastapi"]
    assert servebench.stand.calls == []
    assert "nothing is up" in servebench("down").output


def test_a_folder_with_other_files_is_left_alone(servebench: Command, tmp_path: Path) -> None:
    """Only what `up` has made is cleared by the next; a folder of somebody's own is an error."""
    mine = tmp_path / "serving" / "fastapi"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("years of work")
    done = servebench("up", "--stack", "fastapi", "--folder", str(tmp_path / "serving"))
    assert done.exit_code == 1
    assert "a folder that holds others" in done.output
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_nothing_of_an_earlier_model_stays(servebench: Command, tmp_path: Path) -> None:
    """Triton loads all that is in its repository, so the next `up` begins with an empty one."""
    words = ("up", "--stack", "triton", "--folder", str(tmp_path / "serving"))
    assert servebench(*words).exit_code == 0
    repository = tmp_path / "serving" / "triton" / "repository"
    (repository / "old_model").mkdir()
    assert servebench(*words).exit_code == 0
    assert not (repository / "old_model").exists()
    assert servebench.stand.told("rm") == [["rm", "--stop", "--force", "triton"]]


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
