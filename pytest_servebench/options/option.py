"""Every option there is: its spellings, and what it is for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_servebench.arrivals import AUTO, PEAK_SHARE
from pytest_servebench.comparison.baselines import NO_BASELINE
from pytest_servebench.comparison.changes import DEFAULT_LIMITS, Severity
from pytest_servebench.comparison.fail_limits import limits_text
from pytest_servebench.comparison.fingerprint import FACTS
from pytest_servebench.objective import DEFAULT_OBJECTIVE
from pytest_servebench.options.arrivals import FORMS
from pytest_servebench.options.containers import IMAGE_FORM, SETTINGS_FORM
from pytest_servebench.options.cpu_sets import FORMS as CPU_SET_FORMS
from pytest_servebench.options.placement import LAUNCHERS
from pytest_servebench.options.planning import AUTO_WARMUPS, BASELINE_REPEATS, MODELS, NORMAL, QUICK
from pytest_servebench.options.workers import FORMS as WORKER_FORMS
from pytest_servebench.plan import Decoder, Engine, ModelFormat, Payload, Plan, Precision, WireProtocol


@dataclass(frozen=True, slots=True)
class Option:
    """One option in its three spellings: command line, ini and TOML."""

    key: str
    """Its key in ``[tool.servebench]``."""
    help: str
    metavar: str = ""
    """Empty: the option is a switch."""

    @property
    def flag(self) -> str:
        """Return the spelling on the command line."""
        return "--stack" if self.key == "stack" else f"--serve-{self.key}"

    @property
    def ini(self) -> str:
        """Return the ini key."""
        return "serve_" + self.key.replace("-", "_")

    @property
    def destination(self) -> str:
        """Return its name among pytest's parsed options, out of the way of other plugins."""
        return f"servebench_{self.key.replace('-', '_')}"


def _or(words: Iterable[object]) -> str:
    return "|".join(str(word) for word in words)


OPTIONS = (
    Option(
        "stack",
        "Stacks to serve with: names, NAME=http://HOST:PORT for a server that already runs, 'all' "
        "(one that cannot run here is an error) or 'available' (leaves out what cannot, and says why). "
        "May be given several times.",
        "NAME[,NAME]|NAME=URL|all|available",
    ),
    Option(
        "format",
        "Model formats; 'all' is every one that this device can run, tensorrt where a stack has it. "
        "Default: onnx and pytorch, as far as a stack serves them.",
        f"{','.join(ModelFormat)}|all",
    ),
    Option(
        "dtype",
        "Arithmetic that the models are computed in; 'all' is every one that a format can be computed in on "
        "this device, and what is left out is listed. fp32 is that of IEEE, also on a GPU: TF32 is off. "
        "Default: fp32.",
        f"{','.join(Precision)}|all",
    ),
    Option(
        "batch-size",
        "Largest batch the server may form, in images; several are compared. Default: "
        f"{','.join(map(str, NORMAL.batch_sizes))}.",
        "N[,N]",
    ),
    Option("model", f"Model to serve. Default: {MODELS[0]}.", _or(MODELS)),
    Option("payload", "What one image is on the wire. Default: tensor.", _or(Payload)),
    Option(
        "decoder",
        "What decodes JPEG in the server, with --serve-payload=jpeg: pillow on the CPU; nvjpeg on the GPU, "
        "by torchvision; dali on the GPU, by Triton's DALI backend in NVIDIA's image. Default: auto, which "
        "is nvjpeg on a GPU where the server has it, else pillow.",
        _or(Decoder),
    ),
    Option("protocol", "How requests travel. Default: http.", _or(WireProtocol)),
    Option(
        "launcher",
        "What brings the stacks up. Default: auto, which is docker where the engine offers an NVIDIA "
        "runtime, else process.",
        _or(LAUNCHERS),
    ),
    Option(
        "device",
        "Where the models compute. Default: auto, which is cuda where a GPU can be used, else cpu. Workers "
        "of -n take the GPUs in turn, unless cuda:N names one. cuda:0,1 and cuda:all: every server computes "
        "on all of these GPUs.",
        "auto|cpu|cuda[:N[,M...]|:all]",
    ),
    Option(
        "image",
        "Images to serve from as they are, by stack, in place of our own. Only with containers.",
        IMAGE_FORM,
    ),
    Option(
        "image-base",
        "What images that are built begin with. Default: a CUDA runtime, or python:slim for a CPU, pinned.",
        "REFERENCE",
    ),
    Option(
        "image-wheels",
        "Folder of Python packages to build images from (deploy/wheels.sh fills one). Default: the index.",
        "DIR",
    ),
    Option(
        "plan-image",
        "Image whose trtexec builds the TensorRT plans that Triton's container serves, with the TensorRT of "
        "Triton's. Default: the image that serves.",
        "REFERENCE",
    ),
    Option(
        "container",
        "How containers are run: network (bridge|host), ipc (private|host; host with --serve-payload=shm), "
        "shm (its own size), memory and cpus (limits), init (true|false), user (UID[:GID], or image for its "
        "own). Only with containers.",
        SETTINGS_FORM,
    ),
    Option(
        "cpu-sets",
        "Sets of cores that the workers of -n take in turn, each bound to its own with its servers and its "
        "load, so that as many cases are measured at the same time: a number of equal sets, or sets as in "
        "0-3/4-7. Without -n the first set is used. Default: one case at a time, with all cores.",
        CPU_SET_FORMS,
    ),
    Option(
        "threads",
        "Engine threads on a CPU, the same for every stack. Default: all logical cores, those of one set "
        "with --serve-cpu-sets.",
        "N",
    ),
    Option(
        "duration",
        f"Measured time of a case; seconds, or as in 500ms, 10s, 2m. Default: {NORMAL.duration_s:g}s.",
        "TIME",
    ),
    Option(
        "repeats",
        "How often every case is measured, each time by a server that was started for it; stacks take turns. "
        f"Default: 1, and {BASELINE_REPEATS} with --serve-baseline.",
        "N",
    ),
    Option(
        "warmup",
        f"Load before each measured time, not counted; auto: until throughput and response times are "
        f"steady, at most {AUTO_WARMUPS * NORMAL.warmup_s:g}s. Default: {NORMAL.warmup_s:g}s.",
        "TIME|auto",
    ),
    Option(
        "precision",
        "End the measured time once the 95% confidence intervals of throughput and p95 are within this "
        "share of them, as in 5%; a case that does not get there within --serve-duration is undecided. "
        "Default: none, which measures for all of it.",
        "PERCENT",
    ),
    Option("concurrency", "Requests kept in flight. Default: each benchmark chooses.", "N"),
    Option(
        "objective",
        "What a rate of requests must hold: percentiles of the response time and the share of errors, "
        "each under a limit. benchmarks/test_capacity.py looks for the highest rate that does, when this "
        f"is given. Reference: {DEFAULT_OBJECTIVE}.",
        "pNN<=TIME,errors<SHARE",
    ),
    Option(
        "arrivals",
        "When requests begin: an open loop, which never waits for replies, for every benchmark that does "
        "not choose; rates are requests/s, stages ramp to their rate. Default: closed, which keeps a number "
        "of requests in flight.",
        _or(FORMS),
    ),
    Option(
        "load-scale",
        "Multiplies the rates of staged arrivals, those of the reference's load test where none are given; "
        f"auto makes the highest {PEAK_SHARE:.0%} of a capacity measured just before. Without it and "
        "without staged arrivals, the staged load test is not run.",
        f"FACTOR|{AUTO}",
    ),
    Option(
        "abort-on-fail",
        "Staged load test: end the load once a stage that holds its rate has missed the objective; "
        "looked at every 2 s, and not before this time has passed. Default: every stage is run.",
        "TIME",
    ),
    Option(
        "max-in-flight",
        f"Open loop: an arrival that finds so many requests unanswered is dropped and counted. "
        f"Default: {Plan().max_in_flight}.",
        "N",
    ),
    Option(
        "load-workers",
        "Processes that send the load, each its share: a number of them on this machine, or execnet "
        "specifications, also of other hosts, which reach the servers at --serve-host. A case with fewer "
        "requests in flight than workers uses as many as it has in flight. Default: this process alone.",
        _or(WORKER_FORMS),
    ),
    Option(
        "host",
        "Address on which launched servers listen and to which load is sent; whoever reaches it reaches "
        f"the servers. Default: {Plan().host}.",
        "ADDRESS",
    ),
    Option(
        "load-engine",
        "What makes the load: servebench, or the real k6, over HTTP, in closed loops, constant rates and "
        "stages. Default: servebench.",
        _or(Engine),
    ),
    Option(
        "raw",
        "Measure each model in process too, on the same device, threads and batch, for the serving "
        "efficiency of the servers. Default: yes.",
    ),
    Option(
        "thresholds",
        "TOML file with limits per hardware, stack, format and batch size. "
        "Default: thresholds.toml beside the benchmarks.",
        "FILE",
    ),
    Option("require-thresholds", "Fail a case that no limit speaks of."),
    Option(
        "report",
        "Folder for the report at the end of the session: report.html, summaries as markdown, CSV and JSON, "
        "and charts. It is made, and files of an earlier report in it are replaced. Default: none.",
        "DIR",
    ),
    Option(
        "baseline",
        "Compare the run with a baseline that was promoted (servebench baseline promote), or with the saved "
        f"run at a path, and fail on a regression; {NO_BASELINE}: with nothing. Default: {NO_BASELINE}.",
        f"NAME|PATH|{NO_BASELINE}",
    ),
    Option(
        "fail",
        "How much worse than the baseline a figure may become before it is a regression; a third part is the "
        f"least change that counts, in the figure's unit. Default: {limits_text(DEFAULT_LIMITS)}.",
        "FIGURE:SHARE%[:LEAST],...",
    ),
    Option(
        "inconclusive",
        "Whether a session fails whose comparison proves nothing (too few repeats, another machine, a run "
        "that is not valid). auto: it does, unless a change beyond the limit may be noise. Default: auto.",
        _or(Severity),
    ),
    Option(
        "allow-different",
        "Facts in which run and baseline may differ and be compared all the same: "
        f"{', '.join(FACTS)}, versions.NAME of one package, or all; and by its name what a case was asked or "
        "loaded with, as duration_s. Default: none.",
        "FACT[,FACT]|all",
    ),
    Option(
        "quick",
        f"Short form: {QUICK.duration_s:g}s measured, {QUICK.warmup_s:g}s warm-up, batch size "
        f"{','.join(map(str, QUICK.batch_sizes))} and one request size; what is given explicitly wins.",
    ),
)
