"""The command ``servebench``: what it writes, starts and prints, and how it refuses."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pytest_servebench.cli import main
from pytest_servebench.compose.command import find_compose
from pytest_servebench.compose.project import STATE_VARIABLE
from pytest_servebench.compose.services import PASSWORD
from tests.servebench_command import Command, command_in


@pytest.fixture
def servebench(tmp_path: Path) -> Command:
    """Return the command where everything is there."""
    return command_in(tmp_path)


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


@pytest.mark.parametrize("command", ["", "up", "down", "ps", "logs", "compare", "history"])
def test_help_is_whole_at_80_columns(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is cut off, and every option says what it is for."""
    monkeypatch.setenv("COLUMNS", "80")
    done = CliRunner().invoke(main, [*command.split(), "--help"])
    assert done.exit_code == 0
    assert max(len(line) for line in done.output.splitlines()) <= 80
    usage, _, explained = done.output.partition("\n\n")
    assert usage.startswith("Usage: ")
    assert "..." not in explained
    named = main.get_command(click.Context(main), command) if command else main
    assert named is not None
    options = [each for each in named.params if isinstance(each, click.Option)]
    assert [option.name for option in options if not option.help] == []


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
