"""The TorchServe stack: how it is launched, and what it lacks where it cannot be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from string import Template

import pytest

from pytest_servebench.errors import MissingPieceError
from pytest_servebench.plan import (
    CPU,
    Artifact,
    Decoder,
    Deployment,
    Device,
    LaunchSpec,
    ModelFormat,
)
from pytest_servebench.stacks import torchserve, torchserve_launch
from pytest_servebench.stacks.torchserve import Torchserve
from tests.unit.stacks.unopened import torchserve_deployment as deployment
from tests.unit.stacks.unopened import unopened_artifact

STACK = Torchserve()


def artifact(served: Deployment) -> Artifact:
    """Return an artifact in a folder whose name a template could take for a placeholder."""
    return unopened_artifact(Path("/models with $ign"), served)


def described(*deployments: Deployment) -> LaunchSpec:
    """Return the description of a server for these."""
    return STACK.launch_spec(deployments, {each.served_name: artifact(each) for each in deployments})


def substituted(text: str) -> str:
    """Fill placeholders in as a launcher does."""
    ports = {f"{role}_port": str(9000 + i) for i, role in enumerate(torchserve_launch.PORT_ROLES)}
    return Template(text).substitute(host="127.0.0.1", workdir="/a work/dir", **ports)


def test_the_command_starts_java_itself_in_the_working_folder() -> None:
    """No wrapper stays between the launcher and the server, and no path in the configuration is absolute."""
    spec = described(deployment())
    argv = [substituted(word) for word in spec.argv]
    assert argv[:2] == ["/bin/sh", "-c"]
    assert argv[2].startswith('cd "$1" && ')
    assert 'exec "$java" "-Djava.io.tmpdir=/proc/$$/cwd/tmp" "$@"' in argv[2]
    assert argv[4] == "/a work/dir"
    assert argv[5].endswith("/java")
    assert "org.pytorch.serve.ModelServer" in argv
    assert {"-ncs", "--disable-token-auth", "--enable-model-api"} <= set(argv)
    assert argv[argv.index("-f") + 1] == "config.properties"
    assert argv[argv.index("-s") + 1] == "store"


def test_everything_listens_where_the_launcher_says() -> None:
    """All five listeners are on the given host and on ports of their own."""
    spec = described(deployment())
    (config,) = (file for file in spec.files if file.path == "config.properties")
    assert config.text is not None
    settings = dict(line.split("=", 1) for line in substituted(config.text).splitlines())
    assert settings["inference_address"] == "http://127.0.0.1:9000"
    assert settings["management_address"] == "http://127.0.0.1:9001"
    assert settings["metrics_address"] == "http://127.0.0.1:9002"
    assert settings["grpc_inference_address"] == settings["grpc_management_address"] == "127.0.0.1"
    assert (settings["grpc_inference_port"], settings["grpc_management_port"]) == ("9003", "9004")
    assert settings["enable_envvars_config"] == "false"
    assert settings["install_py_dep_per_model"] == "false"
    assert int(settings["max_request_size"]) > 32 * 3 * 224 * 224 * 4
    assert "load_models" not in settings


def test_the_callers_environment_cannot_change_what_is_described() -> None:
    """Variables that TorchServe or its worker would obey are set, not inherited."""
    environment = described(deployment()).environment
    assert environment["PYTHONPATH"] == ""
    assert environment["TS_CONFIG_FILE"] == "config.properties"
    assert substituted(environment["LOG_LOCATION"]) == "/a work/dir/logs"
    assert substituted(environment["TEMP"]) == "/a work/dir/tmp"
    assert environment["OMP_NUM_THREADS"] == "2"


def test_gpus_are_counted_as_leases_and_telemetry_do() -> None:
    """By their slots; a server on a CPU is told nothing of GPUs."""
    for device, order in ((Device("cuda", 1), "PCI_BUS_ID"), (CPU, None)):
        spec = described(replace(deployment(), device=device))
        assert spec.environment.get("CUDA_DEVICE_ORDER") == order


def test_several_gpus_have_a_worker_each() -> None:
    """The frontend hands out as many as were asked for, by numbers it can read; the archive says which."""
    served = replace(deployment(), device=Device("cuda", 1, (2,)))
    spec = described(served)
    (config,) = (file.text for file in spec.files if file.path == "config.properties")
    assert config is not None
    assert "number_of_gpu=2\n" in config
    assert spec.argv[6] == "0,1"
    (handler,) = (file for file in spec.files if file.path.endswith("model-config.yaml"))
    assert handler.path == "store/resnet50_onnx-cuda1-2-fp32-t2/model-config.yaml"
    assert handler.text is not None
    assert '  device: "cuda:1,2"\n' in handler.text
    (load,) = STACK.load_requests(served)
    assert "initial_workers=2&" in load.path
    assert "url=resnet50_onnx-cuda1-2-fp32-t2&" in load.path


@pytest.mark.parametrize("device", [CPU, Device("cuda", 1)], ids=str)
def test_one_device_has_one_worker_which_the_archive_sends_there(device: Device) -> None:
    """TorchServe itself gives out no GPU then."""
    spec = described(replace(deployment(), device=device))
    (config,) = (file.text for file in spec.files if file.path == "config.properties")
    assert config is not None
    assert "number_of_gpu=0\n" in config
    assert spec.argv[6] == ""
    (load,) = STACK.load_requests(replace(deployment(), device=device))
    assert "initial_workers=1&" in load.path


@pytest.mark.parametrize(
    ("gpus", "visible", "frontend", "meant"),
    [
        ("", None, None, None),
        ("", "", "", None),
        ("", "GPU-5eb0", "", "GPU-5eb0"),
        ("0,1", None, "0,1", "all"),
        ("0,1", "GPU-a,GPU-b,GPU-c", "0,1", "GPU-a,GPU-b,GPU-c"),
        ("0,1", "3,1", "0,1", "3,1"),
    ],
)
def test_the_frontend_counts_gpus_and_the_workers_know_which(
    tmp_path: Path, gpus: str, visible: str | None, frontend: str | None, meant: str | None
) -> None:
    """A UUID is kept from the frontend, which cannot read one, and nothing is told where nothing was."""
    told = [substituted(word) for word in described(deployment()).argv][:4]
    show = 'print(os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("SERVEBENCH_VISIBLE_DEVICES"))'
    inherited = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        # The shell's "$java" and what comes behind its own word for Java's temporary folder.
        [*told, str(tmp_path), str(java_in_place(tmp_path)), gpus, f"import os; {show}"],
        env={**inherited, **({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(frontend), str(meant)] if frontend != "" else ["", meant]


def java_in_place(folder: Path) -> Path:
    """Return a program that runs what it is told behind the first word, in Python."""
    program = folder / "java"
    program.write_text(f'#!/bin/sh\nshift\nexec "{sys.executable}" -c "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return program


def test_an_archive_is_text_and_links() -> None:
    """Each deployment's archive lies unpacked in the store, with the guests and the model linked."""
    spec = described(deployment(), deployment(ModelFormat.PYTORCH), deployment(batch=32))
    by_path = {file.path: file for file in spec.files}
    assert len(by_path) == len(spec.files)
    for name, model in (("resnet50_onnx", "model.onnx"), ("resnet50_pytorch", "model.pt")):
        folder = f"store/{name}-cpu-fp32-t2"
        text = by_path[f"{folder}/MAR-INF/MANIFEST.json"].text
        assert text is not None
        manifest = json.loads(substituted(text))
        assert manifest["model"]["modelName"] == name
        assert manifest["model"]["serializedFile"] == model
        assert by_path[f"{folder}/{model}"].source == Path("/models with $ign") / model
        for guest in ("handler.py", "engine.py", "image_decoder.py", "imagenet.py", "torchserve_request.py"):
            source = by_path[f"{folder}/{guest}"].source
            assert source is not None
            assert source.is_file()


def test_the_archive_tells_the_handler_device_precision_and_threads() -> None:
    """What the handler reads at loading is in the archive and its name, so settings never mix."""
    served = Deployment(
        stack="torchserve", model="m", format=ModelFormat.ONNX, threads=3, device=Device("cuda", 1)
    )
    spec = described(served)
    (config,) = (file for file in spec.files if file.path.endswith("model-config.yaml"))
    assert config.path == "store/m_onnx-cuda1-fp32-t3/model-config.yaml"
    assert config.text is not None
    assert '  device: "cuda:1"\n  precision: fp32\n  threads: 3\n' in substituted(config.text)


@pytest.mark.parametrize("decoder", list(Decoder))
def test_the_archive_tells_what_decodes(decoder: Decoder) -> None:
    """An archive is of one decoder, and its name says which unless it is Pillow."""
    spec = described(replace(deployment(), decoder=decoder))
    (config,) = (file for file in spec.files if file.path.endswith("model-config.yaml"))
    end = "" if decoder is Decoder.PILLOW else f"-{decoder}"
    assert config.path == f"store/resnet50_onnx-cpu-fp32-t2{end}/model-config.yaml"
    assert config.text is not None
    assert f"  decoder: {decoder}\n" in substituted(config.text)


def test_nothing_is_logged_per_request() -> None:
    """The root logger stands at warn, and only the worker's own lines are shown below it."""
    (logging,) = (file for file in described(deployment()).files if file.path == "log4j2.xml")
    assert logging.text is not None
    assert '<Root level="warn">' in substituted(logging.text)


def test_it_waits_for_ping() -> None:
    """The server is ready by its own endpoint, before any model is registered."""
    assert described(deployment()).ready.path == "/ping"
    assert described().ready.port_role == "http"


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a Python environment and a machine with none of what TorchServe needs."""
    nothing: Callable[..., None] = lambda *_: None  # noqa: E731 (one for all)
    monkeypatch.setattr(torchserve, "find_spec", nothing)
    monkeypatch.setattr(torchserve, "find_java", nothing)
    monkeypatch.setattr(torchserve, "frontend_jar", nothing)
    monkeypatch.setattr(torchserve_launch, "find_java", nothing)


@pytest.mark.usefixtures("nothing_installed")
def test_what_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's own imports and an old Java are named, not only the format's engine."""
    monkeypatch.setattr(torchserve, "too_old_java", lambda: Path("/usr/bin/java"))
    pieces = STACK.missing([ModelFormat.ONNX])
    assert [piece.what for piece in pieces] == [
        "torchserve",
        "onnxruntime",
        "torch",
        "yaml",
        "Java 17 or later (/usr/bin/java is older)",
    ]
    assert {piece.remedy for piece in pieces} == {'pip install "pytest-servebench[torchserve]"'}
    assert "onnxruntime" not in [piece.what for piece in STACK.missing([ModelFormat.PYTORCH])]


@pytest.mark.usefixtures("nothing_installed")
def test_a_launch_without_java_says_what_to_install() -> None:
    """The launch is refused with what was looked for and the command that puts it there."""
    with pytest.raises(MissingPieceError) as raised:
        described(deployment())
    assert str(raised.value).startswith(
        "TorchServe cannot be started\n  seen: java: none of version 17 or later"
    )
    assert 'next: pip install "pytest-servebench[torchserve]"' in str(raised.value)
