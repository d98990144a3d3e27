"""What a stack that is kept running is told beside what a benchmark's is (pure).

A benchmark's server starts without a model and is told by its control API which one to load. One that is
kept running has its model from its first second, so that it also has it after a restart, and shows all
the metrics that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

from pytest_servebench.errors import PlanError
from pytest_servebench.interfaces import Stack
from pytest_servebench.plan import Deployment, LaunchSpec, WorkFile
from pytest_servebench.pool import controls_models

_TRITON = {
    "--model-control-mode=explicit": "--model-control-mode=none",
    "--allow-cpu-metrics=false": "--allow-cpu-metrics=true",
    "--allow-gpu-metrics=false": "--allow-gpu-metrics=true",
}
"""Words of a benchmark's command line, and what stands in their place: the whole repository is loaded."""
_TRITON_MORE = ("--metrics-config=summary_latencies=true",)
_CONFIG = "config.properties"
_ARCHIVE_CONFIG = "store/{archive}/model-config.yaml"


def kept_up(stack: Stack, spec: LaunchSpec, deployment: Deployment) -> LaunchSpec:
    """Return ``spec`` so that the server serves ``deployment`` without being told to.

    Raises `PlanError` for a stack whose models can only be loaded by its control API.
    """
    if controls_models(stack) is None:
        return spec
    if stack.name not in _LOADING:
        raise PlanError(
            f"{stack.name} cannot be kept running: how it loads a model by itself is not known",
            next_step=f"keep one of these running: fastapi, {', '.join(_LOADING)}",
        )
    return _LOADING[stack.name](stack, spec, deployment)


def _triton(stack: Stack, spec: LaunchSpec, deployment: Deployment) -> LaunchSpec:
    del stack, deployment
    return replace(spec, argv=(*(_TRITON.get(word, word) for word in spec.argv), *_TRITON_MORE))


def _torchserve(stack: Stack, spec: LaunchSpec, deployment: Deployment) -> LaunchSpec:
    """Register the archive in the configuration as `load_requests` would by the management API."""
    control = controls_models(stack)
    assert control is not None
    (request,) = control.load_requests(deployment)
    asked = {key: values[0] for key, values in parse_qs(urlsplit(request.path).query).items()}
    more = {
        _CONFIG: f"load_models={asked['model_name']}={asked['url']}\n",
        _ARCHIVE_CONFIG.format(archive=asked["url"]): (
            f"minWorkers: {asked['initial_workers']}\n"
            f"maxWorkers: {asked['initial_workers']}\n"
            f"batchSize: {asked['batch_size']}\n"
            f"maxBatchDelay: {asked['max_batch_delay']}\n"
            f"responseTimeout: {asked['response_timeout']}\n"
        ),
    }
    return replace(spec, files=tuple(_longer(file, more) for file in spec.files))


_LOADING: Mapping[str, Callable[[Stack, LaunchSpec, Deployment], LaunchSpec]] = {
    "triton": _triton,
    "torchserve": _torchserve,
}


def _longer(file: WorkFile, more: Mapping[str, str]) -> WorkFile:
    if file.path not in more or file.text is None:
        return file
    return replace(file, text=file.text + more[file.path].replace("$", "$$"))
