"""What the words of the page mean, each in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pytest_servebench.results import Validity

COLUMN_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "stack": "the server",
        "format": "the form of the model's file",
        "precision": "the arithmetic that the model is computed in",
        "model": "the model",
        "payload": "what a request holds: tensor (numbers), uint8 (pixels), jpeg (the server decodes it), or "
        "where in shared memory numbers lie (shm, cudashm)",
        "protocol": "how a request travels",
        "max batch": "the most images the server may compute at once",
        "per request": "images in one request",
        "load": "requests kept in flight, or when they are sent",
        "holds per s": "the highest rate that held the objective",
        "replies": "correct ones in the measured window, what the percentiles are of: of 20 the p95 is the "
        "slowest but one",
        "p50 ms": "half of the correct requests were answered within this time",
        "p95 ms": "19 of 20 correct requests were answered within this time",
        "p95 +-%": "how far the p95 of all possible server starts may be off (95% confidence)",
        "p99 ms": "99 of 100 correct requests were answered within this time",
        "service p95 ms": "the p95 from sending to reply, without what the client was late",
        "send lag p99 ms": "how late the client itself was",
        "images/s": "images in correct replies, per second",
        "images/s +-%": "how far images/s of all possible server starts may be off (95% confidence)",
        "images/s per GPU": "images/s, by the number of GPUs that the server was over",
        "effi- ciency": "images/s, as a share of those of the same model in process, without a server",
        "CPU cores": "cores that the server and its processes used",
        "GPU %": "share of time in which the GPU computed",
        "GPU W": "mean power of the GPU",
        "mJ per image": "energy of the GPU by correct image",
        "memory GB": "highest memory of the GPU; without one, of the server and its processes",
        "images/s per GB": "what the memory earns",
        "batch seen": "images per computation, by the server's own counters",
        "cold start s": "from launch to the first correct answer",
        "limited by": "what kept it from more; the findings say how that is known",
        "verdict": "whether the run may be believed, then whether it holds its limits",
    }
)
"""By the header of `reports.table.COLUMNS`, in one line."""

FIGURE_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "p50": "p50: half of the requests were answered within this time",
        "p95": "p95: 19 of 20 requests were answered within this time",
        "p99": "p99: 99 of 100 requests were answered within this time",
        "throughput": "images answered correctly per second",
        "per GB": "what the memory earns",
        "GPU use": "time in which the GPU computed",
        "efficiency": "share of what the model does without a server",
        "cold start": "from launch to the first correct answer",
        "energy": "of the GPU, by correct answer",
    }
)
"""Of winners, by a word in the figure's name."""

VALIDITY_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        Validity.VALID: "nothing speaks against it",
        Validity.ERRORS: "more than 1% of the requests failed, some were never sent, or the server did not "
        "answer: no speed is shown",
        Validity.WRONG_OUTPUT: "an answer was not the model's: no speed is shown, however fast it was",
        Validity.WRONG_BACKEND: "the server computes elsewhere, or otherwise, than it was asked to: no speed "
        "is shown",
        Validity.UNSTABLE: "speed changed while it was measured, so another window would tell another figure",
        Validity.CLIENT_LIMITED: "the load generator, not the server, may have been the limit",
        Validity.UNDECIDED: "too few replies to say anything",
    }
)
"""Of whether a run may be believed."""

JUDGEMENT_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "pass": "all limits that speak of the case hold",
        "fail": "a limit does not hold",
        "inconclusive": "it cannot be judged: the run is not valid, or a limited figure is missing",
        "ungated": "nobody set a limit for it on this hardware",
    }
)
"""Of whether a case holds its limits."""

WHY_TRUST = (
    "Warm-up is not in the figures: the measured window begins after it.",
    "Answers are compared with the model's own, before the load and during it: wrong ones are never fast.",
    "Response time counts from when a request was due, so a server that stalls cannot hide it.",
    "Requests that fail are counted apart and never make a server look fast.",
    "What the load generator itself can do is measured too; where it may be the limit, the run is not valid.",
    "Only valid cases that were asked alike are compared.",
    "With repeats a server is started anew for each, and none is best whose 95% interval overlaps another's.",
    "What was not measured is n/a, never 0.",
)
"""Why a reader may believe the figures, a sentence each."""
