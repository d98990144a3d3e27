"""Docker Compose is found, told the whole project, and its failures say what it said."""

from __future__ import annotations

import pytest

from pytest_servebench.compose.command import find_compose
from pytest_servebench.errors import LaunchError, MissingPieceError
from tests.compose_stand_in import Stand


def test_the_program_that_answers_is_taken(stand: Stand) -> None:
    """Without the plugin, docker-compose on the path is Docker Compose."""
    assert find_compose({"PATH": str(stand.path.parent)}) == ("docker-compose",)


def test_the_plugin_comes_first(stand: Stand) -> None:
    """Where both are there, it is the plugin: the other is no longer kept up by its makers."""
    (stand.path.parent / "docker").write_bytes(stand.path.read_bytes())
    (stand.path.parent / "docker").chmod(0o755)
    assert find_compose({"PATH": str(stand.path.parent)}) == ("docker", "compose")


def test_without_compose_it_is_said_what_to_install(stand: Stand) -> None:
    """No Compose, or one that fails, is an error with what each said and a remedy."""
    stand.answers("version", code=3)
    with pytest.raises(MissingPieceError) as raised:
        find_compose({"PATH": str(stand.path.parent)})
    assert "docker compose: No such file or directory" in raised.value.seen
    assert "docker-compose: no word" in raised.value.seen
    assert "docker-compose-plugin" in raised.value.next_step


def test_a_call_names_project_files_and_profiles(stand: Stand) -> None:
    """Every call is about the whole project, in the order that Compose merges it."""
    stand.compose().run("up", "--detach")
    (call,) = stand.calls
    files, profiles = (
        ["-f", "one.yaml", "-f", "two.json"],
        ["--profile", "fastapi", "--profile", "monitoring"],
    )
    assert call["words"] == ["--project-name", "made-up", *files, *profiles, "up", "--detach"]


def test_a_users_own_compose_settings_stay_out(stand: Stand) -> None:
    """COMPOSE_FILE and the like are of the user's projects, and would change what ours are."""
    stand.compose({"COMPOSE_FILE": "mine.yaml", "COMPOSE_PROFILES": "x", "COMPOSE_HTTP_TIMEOUT": "9"}).run(
        "ps"
    )
    assert stand.calls[0]["foreign"] == ["COMPOSE_HTTP_TIMEOUT"]


def test_running_services_are_asked_for(stand: Stand) -> None:
    """What runs is what Compose lists, a service a line."""
    stand.answers("ps", "fastapi\nprometheus\n")
    assert stand.compose().running() == {"fastapi", "prometheus"}
    assert stand.told("ps") == [["ps", "--services", "--filter", "status=running"]]


def test_a_failure_says_command_and_code(stand: Stand) -> None:
    """A command that fails is a LaunchError with its name and its exit code."""
    stand.answers("up", code=17)
    with pytest.raises(LaunchError, match="docker-compose up failed with exit code 17"):
        stand.compose().run("up")


def test_logs_that_cannot_be_had_raise_nothing(stand: Stand) -> None:
    """Last words belong to another error, which they must not hide."""
    stand.answers("logs", code=1)
    assert stand.compose().last_words("fastapi") == ""
