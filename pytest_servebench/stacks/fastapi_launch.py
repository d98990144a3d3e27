"""The command line and the environment that start ``handlers/fastapi_app``, wherever it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_servebench.errors import PlanError
from pytest_servebench.plan import Artifact, Deployment, ModelFormat, ReadyCheck

READY = ReadyCheck(path="/v2/health/ready")
COMPILED_S = 900.0
"""How long a start may take in which TensorRT tries its kernels."""
_GRACEFUL_S = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the server finds what it needs, as it sees it; placeholders of a launch spec are filled in."""

    python: str
    guests: str
    """The folder ``handlers``."""
    model: str
    card: str
    labels: str


def the_one(
    deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]
) -> tuple[Deployment, Artifact]:
    """Return the only deployment and its artifact; raises `PlanError` for several."""
    if len(deployments) != 1:
        raise PlanError(
            "the fastapi server serves one deployment at a time",
            seen=f"{len(deployments)} deployments",
            next_step="launch one server per deployment",
        )
    return deployments[0], artifacts[deployments[0].served_name]


def launch_name(deployment: Deployment) -> str:
    """Return what the launch of ``deployment`` is called."""
    return f"fastapi-{deployment.served_name}"


def ready(deployment: Deployment) -> ReadyCheck:
    """Return how its server is known to be ready: the first start with TensorRT takes its time."""
    return replace(READY, deadline_s=COMPILED_S) if deployment.format is ModelFormat.TENSORRT else READY


def argv(places: Places) -> tuple[str, ...]:
    """Return the command that starts one uvicorn worker."""
    return (
        *(places.python, "-m", "uvicorn", "fastapi_app.app:create_app", "--factory"),
        # Beside the user's own PYTHONPATH, not instead of it.
        *("--app-dir", places.guests),
        *("--host", "${host}", "--port", "${http_port}"),
        *("--loop", "uvloop", "--http", "httptools", "--lifespan", "on"),
        *("--no-access-log", "--log-level", "warning"),
        # A client that pauses between two loads finds its connections again.
        *("--timeout-keep-alive", "300", "--timeout-graceful-shutdown", str(_GRACEFUL_S)),
    )


def environment(deployment: Deployment, places: Places) -> dict[str, str]:
    """Return the server's settings, and how its engine's threads behave."""
    threads = str(deployment.threads)
    settings: dict[str, object] = {
        "MODEL_PATH": places.model,
        "CARD_PATH": places.card,
        "LABELS_PATH": places.labels,
        "MODEL_NAME": deployment.served_name,
        "MODEL_FORMAT": deployment.format,
        "INPUT_DTYPE": deployment.input_dtype,
        "DECODER": deployment.decoder,
        "DEVICE": deployment.device,
        "PRECISION": deployment.precision,
        "THREADS": threads,
        "MAX_BATCH_SIZE": deployment.max_batch_size,
        "MAX_QUEUE_DELAY_MS": deployment.max_queue_delay_ms,
        # A load of twice the batch size must find room.
        # More than any load here keeps in flight: what a full queue answers is tested, not measured.
        "QUEUE_SIZE": max(1024, 4 * deployment.max_batch_size),
    }
    return {
        "PYTHONUNBUFFERED": "1",
        **engine_environment(deployment),
        **{f"SERVEBENCH_{key}": str(value) for key, value in settings.items()},
    }


def engine_environment(deployment: Deployment) -> dict[str, str]:
    """Return how the threads of the engines behave that are in ``handlers/``."""
    threads = str(deployment.threads)
    return {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": "1",
        # Spinning OpenMP threads take the cores that the event loop and the client need:
        # torch on two shared cores was several times slower with them.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
