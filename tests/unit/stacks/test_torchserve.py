"""The TorchServe stack: what it describes, without a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from string import Template
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from python_multipart.multipart import parse_options_header

from pytest_servebench.errors import AnswerError, MissingPieceError
from pytest_servebench.interfaces import ModelControl, ServerCounters, Stack
from pytest_servebench.plan import (
    Artifact,
    Case,
    Deployment,
    Device,
    Image,
    LaunchSpec,
    ModelFormat,
    Payload,
)
from pytest_servebench.results import Reply
from pytest_servebench.stacks import torchserve, torchserve_launch
from pytest_servebench.stacks.torchserve import Torchserve

STACK = Torchserve()


def deployment(
    model_format: ModelFormat = ModelFormat.ONNX, batch: int = 8, delay_ms: float = 2.0
) -> Deployment:
    """Return ResNet50 under one batch setting."""
    return Deployment(
        stack="torchserve",
        model="resnet50",
        format=model_format,
        max_batch_size=batch,
        max_queue_delay_ms=delay_ms,
    )


def artifact(served: Deployment) -> Artifact:
    """Return an artifact in a folder whose name a template could take for a placeholder."""
    folder = Path("/models with $ign")
    return Artifact(
        model=served.model,
        format=served.format,
        path=folder / ("model.onnx" if served.format is ModelFormat.ONNX else "model.pt"),
        card_path=folder / "card.json",
        labels_path=folder / "labels.json",
        sha256="0",
        weights="seeded-random:0",
    )


def described(*deployments: Deployment) -> LaunchSpec:
    """Return the description of a server for these."""
    return STACK.launch_spec(deployments, {each.served_name: artifact(each) for each in deployments})


def substituted(text: str) -> str:
    """Fill placeholders in as a launcher does."""
    ports = {f"{role}_port": str(9000 + i) for i, role in enumerate(torchserve_launch.PORT_ROLES)}
    return Template(text).substitute(host="127.0.0.1", workdir="/a work/dir", **ports)


def images(count: int) -> list[Image]:
    """Return images numbered from 7, each filled with its position."""
    return [
        Image(
            index=i + 7, jpeg=b"\xff\xd8\xff" + bytes([i]) * 9, tensor=np.full((3, 224, 224), i, np.float32)
        )
        for i in range(count)
    ]


def case(payload: Payload = Payload.TENSOR, items: int = 1) -> Case:
    """Return a case of the default deployment."""
    return Case(deployment=deployment(), payload=payload, items_per_request=items)


def reply(body: object, status: int = 200) -> Reply:
    """Return a JSON reply."""
    return Reply(status, {}, json.dumps(body).encode())


def predictions(*class_ids: int) -> list[dict[str, object]]:
    """Return classes as the handler names them."""
    return [{"class_id": i, "class_name": "x", "confidence": 0.5} for i in class_ids]


def test_it_satisfies_the_contracts() -> None:
    """The class is a Stack and a ModelControl by shape; mypy holds the types, this the instance."""
    stack: Stack = STACK
    control: ModelControl = STACK
    assert stack.name == "torchserve"
    assert control.load_requests(deployment())


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
        for guest in ("handler.py", "engine.py", "imagenet.py"):
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


def test_nothing_is_logged_per_request() -> None:
    """The root logger stands at warn, and only the worker's own lines are shown below it."""
    (logging,) = (file for file in described(deployment()).files if file.path == "log4j2.xml")
    assert logging.text is not None
    assert '<Root level="warn">' in substituted(logging.text)


def test_it_waits_for_ping() -> None:
    """The server is ready by its own endpoint, before any model is registered."""
    assert described(deployment()).ready.path == "/ping"
    assert described().ready.port_role == "http"


@pytest.mark.parametrize(
    ("batch", "delay_ms", "expected_ms"),
    [(1, 5.0, 0), (8, 2.0, 2), (8, 2.1, 3), (8, 0.0, 1), (8, 0.2, 1)],
)
def test_the_batch_delay_is_whole_milliseconds(batch: int, delay_ms: float, expected_ms: int) -> None:
    """Rounded up to at least 1, since at 0 a batch ends after two requests; none at batch size 1."""
    served = deployment(batch=batch, delay_ms=delay_ms)
    (request,) = STACK.load_requests(served)
    query = parse_qs(urlsplit(request.path).query)
    assert query["max_batch_delay"] == [str(expected_ms)]
    assert query["batch_size"] == [str(batch)]
    suffix = f", holds up to {expected_ms} ms" if expected_ms else ""
    assert STACK.backend(served) == f"torchserve handler: onnxruntime CPU{suffix}"


def test_a_model_is_registered_and_unregistered_by_management() -> None:
    """Loading returns when the worker is up; the archive is the one that was laid out."""
    (load,) = STACK.load_requests(deployment())
    query = parse_qs(urlsplit(load.path).query)
    assert (load.method, load.port_role, urlsplit(load.path).path) == ("POST", "management", "/models")
    assert query["url"] == ["resnet50_onnx-cpu-fp32-t2"]
    assert query["model_name"] == ["resnet50_onnx"]
    assert (query["synchronous"], query["initial_workers"]) == (["true"], ["1"])
    (unload,) = STACK.unload_requests(deployment())
    assert (unload.method, unload.port_role, unload.path) == ("DELETE", "management", "/models/resnet50_onnx")


def test_tensors_travel_as_little_endian_float32() -> None:
    """Several images are one body, under the content type the handler reads as numbers."""
    request = STACK.encode(case(items=2), images(2))
    assert request.path == "/predictions/resnet50_onnx"
    assert dict(request.headers) == {"content-type": "application/x-float32"}
    assert len(request.body) == 2 * 3 * 224 * 224 * 4
    assert np.frombuffer(request.body, "<f4").reshape(2, -1)[:, 0].tolist() == [0.0, 1.0]
    assert request.image_indexes == (7, 8)


def test_one_jpeg_travels_as_it_is() -> None:
    """A single image is the body."""
    request = STACK.encode(case(Payload.JPEG), images(1))
    assert request.body == images(1)[0].jpeg
    assert dict(request.headers) == {"content-type": "image/jpeg"}


def test_several_jpegs_are_parts_under_names_of_their_own() -> None:
    """TorchServe keeps one part per name; Host and Content-Length are the driver's business."""
    request = STACK.encode(case(Payload.JPEG, 3), images(3))
    headers = dict(request.headers)
    assert set(headers) == {"content-type"}
    kind, options = parse_options_header(headers["content-type"])
    assert kind == b"multipart/form-data"
    parts = request.body.split(b"--" + options[b"boundary"])[1:-1]
    assert [part.split(b'name="')[1].split(b'"')[0] for part in parts] == [b"image_0", b"image_1", b"image_2"]
    assert all(image.jpeg in part for image, part in zip(images(3), parts, strict=True))


def test_an_answer_is_read_for_one_and_for_several() -> None:
    """Classes and confidences come in the server's order, one answer per image."""
    (one,) = STACK.decode(case(), reply({"predictions": predictions(3, 1)}))
    assert (one.class_ids, one.confidences, one.logits) == ((3, 1), (0.5, 0.5), None)
    rows = [{"image_index": i, "predictions": predictions(i)} for i in range(2)]
    assert [a.class_ids for a in STACK.decode(case(items=2), reply({"results": rows}))] == [(0,), (1,)]


@pytest.mark.parametrize(
    ("answered", "seen"),
    [
        (reply({"code": 400, "message": "image 0: not a readable image"}, 400), "status 400"),
        (Reply(200, {}, b"<html>"), "JSONDecodeError"),
        (reply({"nothing": 1}), "KeyError: 'predictions'"),
        (reply({"predictions": []}), "no predictions"),
        (reply([1]), "TypeError"),
        (reply({"predictions": [{"class_id": "x", "confidence": 1}]}), "ValueError"),
        (reply({"results": [{"predictions": predictions(1)}] * 2}), "2 answers for 1 images"),
    ],
    ids=["status", "not-json", "no-field", "empty", "list", "no-number", "count"],
)
def test_a_reply_that_is_no_answer_says_what_was_seen(answered: Reply, seen: str) -> None:
    """The error names the case, the path, what was seen and the body's begin."""
    with pytest.raises(AnswerError) as raised:
        STACK.decode(case(), answered)
    assert seen in raised.value.seen
    assert answered.body[:10].decode() in raised.value.seen
    assert raised.value.where == f"{case().id}, POST /predictions/resnet50_onnx"


METRICS = """\
# HELP ts_queue_latency_microseconds x
# TYPE ts_queue_latency_microseconds counter
ts_queue_latency_microseconds{model_name="resnet50_onnx",model_version="default",hostname="h",} 1000.5
ts_queue_latency_microseconds{model_name="resnet50_pytorch",model_version="default",hostname="h",} 7.0
# HELP ts_inference_requests_total x
# TYPE ts_inference_requests_total counter
ts_inference_requests_total{model_name="resnet50_onnx",model_version="default",hostname="h",} 5.0
# HELP batch_size_distribution x
# TYPE batch_size_distribution histogram
batch_size_distribution_bucket{ModelName="resnet50_onnx",Hostname="h",le="5.0",} 4.0
batch_size_distribution_bucket{ModelName="resnet50_onnx",Hostname="h",le="+Inf",} 4.0
batch_size_distribution_count{ModelName="resnet50_onnx",Hostname="h",} 4.0
batch_size_distribution_sum{ModelName="resnet50_onnx",Hostname="h",} 8.0
# HELP ts_inference_latency_microseconds x
# TYPE ts_inference_latency_microseconds counter
ts_inference_latency_microseconds{model_name="resnet50_onnx",model_version="default",hostname="h",} 4000.5
"""


def test_counters_are_one_models_own() -> None:
    """Queue and compute are apart, although the server's inference time counts from arrival."""
    counters = STACK.counters(deployment(), Reply(200, {}, METRICS.encode()))
    assert counters == ServerCounters(
        images=8.0, executions=4.0, queue_s=0.0010005, compute_s=0.003, requests=5.0
    )


def test_a_counter_that_has_not_begun_is_zero_and_one_that_is_not_kept_is_none() -> None:
    """A model nobody asked yet has counted 0; a server without the handler's metric reports none."""
    unasked = Deployment(stack="torchserve", model="other", format=ModelFormat.ONNX)
    assert STACK.counters(unasked, Reply(200, {}, METRICS.encode())).executions == 0.0
    foreign = "\n".join(line for line in METRICS.splitlines() if "batch_size_distribution" not in line)
    counters = STACK.counters(deployment(), Reply(200, {}, foreign.encode()))
    assert (counters.images, counters.executions) == (None, None)
    assert counters.requests == 5.0
    request = STACK.counters_request(deployment())
    assert (request.method, request.path, request.port_role) == ("GET", "/metrics", "metrics")


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
