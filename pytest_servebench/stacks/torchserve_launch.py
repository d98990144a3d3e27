"""The files that TorchServe needs, and the command line with which it runs as a local process.

Model archives are laid out unpacked in the model store: TorchServe takes a folder with
``MAR-INF/MANIFEST.json`` for an archive, so an archive is text and links, nothing is packed.

TorchServe's frontend is started with ``java`` itself. Its own wrapper (``torchserve --start``)
leaves the Java process behind when it ends and keeps one pid file for the whole machine.
A line of shell enters the working folder first, which buys three things: every path in the
configuration can be relative, so no path has to be escaped; what TorchServe writes beside
itself stays in the folder; and ``/proc/<pid>/cwd/tmp`` is a short name for the temporary
folder, in which TorchServe makes the sockets to its workers (a socket's path holds at most
107 bytes, and a working folder can be deep).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from pytest_servebench.errors import MissingPieceError
from pytest_servebench.folders.shipped import shipped
from pytest_servebench.plan import Artifact, Decoder, Deployment, LaunchSpec, ReadyCheck, WorkFile
from pytest_servebench.stacks.engine_files import engine_files
from pytest_servebench.stacks.gpu_order import gpu_order
from pytest_servebench.stacks.java import find_java

PORT_ROLES = ("http", "management", "metrics", "grpc_inference", "grpc_management")

BATCH_SIZE_METRIC = "batch_size_distribution"
"""The handler's histogram of images per execution (`handlers/torchserve/handler.py`)."""

HANDLER_TIME_METRIC = "image_classification_handler_seconds"
"""The handler's histogram of its time per batch."""

RESPONSE_TIMEOUT_S = 120
STARTUP_TIMEOUT_S = 900
"""How long a worker may load a model that Torch-TensorRT compiles first."""
READY = ReadyCheck(path="/ping")

_ENTER_AND_START = (
    'cd "$1" && java=$2 && gpus=$3 && shift 3 && if [ -n "$gpus${CUDA_VISIBLE_DEVICES-}" ]; then'
    ' export SERVEBENCH_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES-all}" CUDA_VISIBLE_DEVICES="$gpus"; fi'
    ' && exec "$java" "-Djava.io.tmpdir=/proc/$$/cwd/tmp" "$@"'
)
"""The frontend counts GPUs by the words of CUDA_VISIBLE_DEVICES and does not start where one is a UUID. It is
told numbers, as many as it shall give its workers; the handler has CUDA see what was meant."""

JVM = (
    # Enough for 16 requests of 19 MB in flight; grows only when used.
    "-Xms64m",
    "-Xmx1g",
    # Without a file in the machine's shared temporary folder.
    "-XX:-UsePerfData",
    "-Dlog4j.configurationFile=log4j2.xml",
)

SERVER = ("org.pytorch.serve.ModelServer", "-f", "config.properties", "-s", "store")
OPTIONS = ("-ncs", "--disable-token-auth", "--enable-model-api")

_CONFIG = f"""\
inference_address=http://${{host}}:${{http_port}}
management_address=http://${{host}}:${{management_port}}
metrics_address=http://${{host}}:${{metrics_port}}
grpc_inference_address=${{host}}
grpc_inference_port=${{grpc_inference_port}}
grpc_management_address=${{host}}
grpc_management_port=${{grpc_management_port}}
enable_envvars_config=false
disable_token_authorization=true
enable_model_api=true
allowed_urls=file://.*
model_store=store
install_py_dep_per_model=false
number_of_gpu=${{gpus}}
number_of_netty_threads=2
netty_client_threads=1
default_response_timeout={RESPONSE_TIMEOUT_S}
unregister_model_timeout=30
max_request_size=134217728
max_response_size=134217728
metrics_mode=prometheus
metrics_config=metrics.yaml
disable_system_metrics=true
"""

_METRICS = f"""\
ts_metrics:
  counter:
    - name: Requests2XX
      unit: Count
      dimensions: [Level, Hostname]
    - name: Requests4XX
      unit: Count
      dimensions: [Level, Hostname]
    - name: Requests5XX
      unit: Count
      dimensions: [Level, Hostname]
    - name: ts_inference_requests_total
      unit: Count
      dimensions: [model_name, model_version, hostname]
    - name: ts_inference_latency_microseconds
      unit: Microseconds
      dimensions: [model_name, model_version, hostname]
    - name: ts_queue_latency_microseconds
      unit: Microseconds
      dimensions: [model_name, model_version, hostname]
model_metrics:
  histogram:
    - name: {BATCH_SIZE_METRIC}
      unit: count
      dimensions: [model_name]
    - name: {HANDLER_TIME_METRIC}
      unit: seconds
      dimensions: [model_name]
"""

# The default configuration writes more than ten lines per request.
_LOGGING = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="error">
  <Appenders>
    <Console name="console" target="SYSTEM_OUT">
      <PatternLayout pattern="%d{ISO8601} [%-5p] %t %c - %m%n"/>
    </Console>
  </Appenders>
  <Loggers>
    <!-- What the worker prints: its start, and why it failed. Nothing per request. -->
    <Logger name="MODEL_LOG" level="info"/>
    <Logger name="MODEL_METRICS" level="off"/>
    <Logger name="TS_METRICS" level="off"/>
    <Logger name="ACCESS_LOG" level="off"/>
    <Root level="warn">
      <AppenderRef ref="console"/>
    </Root>
  </Loggers>
</Configuration>
"""


def frontend_jar() -> Path | None:
    """Return TorchServe's frontend, or None when TorchServe is not installed; imports nothing."""
    package = find_spec("ts")
    if package is None or package.origin is None:
        return None
    jar = Path(package.origin).parent / "frontend" / "model-server.jar"
    return jar if jar.is_file() else None


def archive_name(deployment: Deployment) -> str:
    """Return the name of the archive in the model store.

    It holds what the handler reads when it loads; batch settings are given when the
    archive is registered, so deployments that differ in nothing else share one.
    """
    device = str(deployment.device).replace(":", "").replace(",", "-")
    decoder = "" if deployment.decoder is Decoder.PILLOW else f"-{deployment.decoder}"
    return f"{deployment.served_name}-{device}-{deployment.precision}-t{deployment.threads}{decoder}"


def torchserve_launch_spec(
    deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]
) -> LaunchSpec:
    """Return how TorchServe comes up with no model loaded and an archive for each deployment.

    Raises `MissingPieceError` where TorchServe or a Java is not installed.
    """
    java, jar = find_java(), frontend_jar()
    if java is None or jar is None:
        raise MissingPieceError(
            "TorchServe cannot be started",
            seen=f"java: {java or 'none of version 17 or later'}, TorchServe: {jar or 'not installed'}",
            next_step='pip install "pytest-servebench[torchserve]"',
        )
    # One in the caller's environment would replace what is described here.
    home = {"TS_MODEL_SERVER_HOME": str(_home(jar)).replace("$", "$$")}
    return LaunchSpec(
        name="torchserve",
        argv=_argv(java, jar, counted_gpus(deployments)),
        port_roles=PORT_ROLES,
        environment={**environment(deployments), **gpu_order(deployments), **home},
        files=work_files(deployments, artifacts),
        ready=READY,
    )


def work_files(deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]) -> tuple[WorkFile, ...]:
    """Return the server's settings, and an archive for all deployments that differ in batching alone."""
    archives = {archive_name(deployment): deployment for deployment in deployments}
    files = [file for d in archives.values() for file in _archive(d, artifacts[d.served_name])]
    gpus = len(list(filter(None, counted_gpus(deployments).split(","))))
    return (*_server_files(gpus), *files)


def workers_of(deployment: Deployment) -> int:
    """Return how many workers serve it: one for each GPU, which share its queue of requests."""
    return max(1, len(deployment.device.indexes))


def counted_gpus(deployments: Sequence[Deployment]) -> str:
    """Return the GPUs that TorchServe gives to workers in turns, as ``0,1``; empty: an archive says which."""
    most = max(map(workers_of, deployments), default=1)
    return ",".join(map(str, range(most))) if most > 1 else ""


def _argv(java: Path, jar: Path, gpus: str) -> tuple[str, ...]:
    command = (str(java), *JVM, f"-Dmodel_server_home={_home(jar)}", "-cp", str(jar))
    server = (*SERVER, *OPTIONS, "--python", sys.executable)
    literal = (text.replace("$", "$$") for text in (*command, *server))
    enter = _ENTER_AND_START.replace("$", "$$")
    java_word, *rest = literal
    return ("/bin/sh", "-c", enter, "torchserve", "${workdir}", java_word, gpus, *rest)


def environment(deployments: Sequence[Deployment]) -> dict[str, str]:
    """Return what the server and its workers are told; where its home is comes beside."""
    threads = max((deployment.threads for deployment in deployments), default=1)
    return {
        # The worker's modules must be the archive's and the installed ones, whatever this process uses.
        "PYTHONPATH": "",
        "PYTHONWARNINGS": "",
        # One in the caller's environment would replace what is described here.
        "TS_CONFIG_FILE": "config.properties",
        "TS_DECODE_INPUT_REQUEST": "true",
        "TEMP": "${workdir}/tmp",
        "LOG_LOCATION": "${workdir}/logs",
        "METRICS_LOCATION": "${workdir}/logs",
        "OMP_NUM_THREADS": str(threads),
        # Torch's threads, left alone, spin after each batch on the cores that the frontend needs.
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _home(jar: Path) -> Path:
    """Return what TorchServe calls its home: the folder that holds the package ``ts``."""
    return jar.parent.parent.parent


def _server_files(gpus: int) -> Iterator[WorkFile]:
    yield WorkFile(path="config.properties", text=_CONFIG.replace("${gpus}", str(gpus)))
    yield WorkFile(path="log4j2.xml", text=_LOGGING)
    yield WorkFile(path="metrics.yaml", text=_METRICS)
    for folder in ("tmp", "logs", "store"):
        yield WorkFile(path=f"{folder}/.keep", text="")


def _archive(deployment: Deployment, artifact: Artifact) -> Iterator[WorkFile]:
    """Yield an unpacked model archive, as torch-model-archiver would pack it."""
    folder = f"store/{archive_name(deployment)}"
    guests = shipped("handlers")
    manifest = {
        "createdOn": "01/01/2026 00:00:00",
        "runtime": "python",
        "archiverVersion": "0.12.0",
        "model": {
            "modelName": deployment.served_name,
            "modelVersion": "1.0",
            "serializedFile": artifact.path.name,
            "handler": "handler.py",
            "configFile": "model-config.yaml",
        },
    }
    yield WorkFile(path=f"{folder}/MAR-INF/MANIFEST.json", text=json.dumps(manifest, indent=2))
    yield WorkFile(path=f"{folder}/model-config.yaml", text=_model_config(deployment))
    linked = {
        "handler.py": guests / "torchserve" / "handler.py",
        **engine_files(),
        "image_decoder.py": guests / "image_decoder.py",
        "imagenet.py": guests / "imagenet.py",
        "torchserve_request.py": guests / "torchserve_request.py",
        "card.json": artifact.card_path,
        "labels.json": artifact.labels_path,
        artifact.path.name: artifact.path,
    }
    for name, source in linked.items():
        yield WorkFile(path=f"{folder}/{name}", source=source)


def _model_config(deployment: Deployment) -> str:
    """Return settings for the handler, and for how long a dead worker is started anew.

    Never 0: TorchServe would then keep later requests of a model without a worker unanswered.
    """
    return (
        "maxRetryTimeoutInSec: 10\n"
        "handler:\n"
        f"  device: {json.dumps(str(deployment.device))}\n"
        f"  precision: {deployment.precision}\n"
        f"  threads: {deployment.threads}\n"
        f"  format: {deployment.format}\n"
        f"  input_dtype: {deployment.input_dtype}\n"
        f"  decoder: {deployment.decoder}\n"
    )
