"""The page's plots as data: within the grammar, harmless whatever names say, and without holes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from pytest_servebench.plan import ModelFormat
from pytest_servebench.reports.plots import plots_of
from pytest_servebench.statistics.histogram import Histogram
from tests.plotted import at_load, bars_in, drawn, full_run, run_of, staged, told
from tests.saved_records import repeats, saved_record

EVIL = "</script><b>\"'\\u0041{{signal}} datum.x é漢\U0001f600"


@pytest.fixture(scope="session")
def grammar() -> Draft7Validator:
    """Return the schema of Vega-Lite 6, as altair ships it."""
    path = files("altair") / "vegalite" / "v6" / "schema" / "vega-lite-schema.json"
    return Draft7Validator(json.loads(path.read_text(encoding="utf-8")))


def test_every_specification_is_vega_lite(grammar: Draft7Validator) -> None:
    """What the page is given to draw follows the grammar, with every plot there is."""
    open_one = staged(told(saved_record(stack="torchserve")))
    runs = [
        run_of(*full_run().records, open_one, at_load(1), at_load(4, 2.0)),
        run_of(*repeats(3), name="two"),
    ]
    plots = plots_of(runs)
    assert [plot.name for plot in plots if plot.absent] == []
    for plot in plots:
        assert not list(grammar.iter_errors(json.loads(json.dumps(plot.spec)))), plot.name


def test_every_plot_says_what_is_to_be_seen_or_why_there_is_none() -> None:
    """Whoever sees no plot reads one; a plot that is missing says why, and never both."""
    for plot in (*plots_of([full_run()]), *plots_of([run_of(saved_record())]), *plots_of([])):
        assert bool(plot.spec) != bool(plot.absent), plot.name
        assert bool(plot.spec) == bool(plot.description), plot.name
        assert plot.spec.get("description", "") == plot.description
        assert plot.title
        assert plot.reading


def test_names_are_anchors_that_no_two_plots_share() -> None:
    """The page finds a plot by its name."""
    names = [plot.name for plot in plots_of([run_of(staged(saved_record()), saved_record(stack="x"))])]
    assert len(set(names)) == len(names)


def expressions_in(spec: Any) -> Iterator[str]:
    """Yield all that Vega would evaluate."""
    if isinstance(spec, Mapping):
        for key, part in spec.items():
            if key in {"filter", "calculate", "test", "expr", "labelExpr", "signal"} and isinstance(
                part, str
            ):
                yield part
            else:
                yield from expressions_in(part)
    elif isinstance(spec, (list, tuple)):
        for part in spec:
            yield from expressions_in(part)


def test_no_name_of_a_user_is_ever_evaluated(grammar: Draft7Validator) -> None:
    """Whatever names say, expressions and fields are those of harmless names."""
    runs = []
    for word in ("plain", EVIL):
        records = [staged(each) for each in full_run().records]
        records += [told(saved_record(stack=word)), at_load(1, stack=word), at_load(4, stack=word)]
        records = [{**each, "benchmark": word} for each in records]
        runs.append([run_of(*records, name=word), run_of(*repeats(2, stack=word), name=f"{word}2")])
    harmless, evil = (plots_of(each) for each in runs)
    for one, other in zip(harmless, evil, strict=True):
        assert set(expressions_in(other.spec)) == set(expressions_in(one.spec))
        assert not list(grammar.iter_errors(json.loads(json.dumps(other.spec)))), other.name


def test_twenty_four_cases_are_less_than_a_megabyte() -> None:
    """The page can be sent by mail."""
    columns = {name: [1234.5678] * 120 for name in staged(saved_record())["timeline"]}
    columns["begin_s"] = [at / 10 for at in range(120)]
    times = np.random.default_rng(1).lognormal(15, 1, 200_000).astype(np.int64)
    held = {**saved_record()["histogram"], "response_time_ns": Histogram.of(times).encoded()}
    much = {"timeline": columns, "histogram": held}
    records = [
        {**told(saved_record(stack=stack, model_format=each, batch=batch)), **much}
        for stack in ("fastapi", "triton", "torchserve", "other")
        for each in (ModelFormat.ONNX, ModelFormat.PYTORCH)
        for batch in (1, 8, 32)
    ]
    assert len(records) == 24
    size = sum(len(json.dumps(plot.spec)) for plot in plots_of([run_of(*records)]))
    assert size < 1_000_000


LEAVES = (
    ("response_time_ms", "p50"),
    ("response_time_ms", "p95"),
    ("response_time_ms", "p99"),
    ("response_time_ms", "mean"),
    ("figures", "memory_usage_gb"),
    ("telemetry", "batch_size_achieved"),
    ("telemetry", "server_cpu_cores"),
    ("telemetry", "queue_time_ms"),
    ("telemetry", "compute_time_ms"),
    ("telemetry", "counters_offset_s"),
    ("histogram",),
    ("timeline",),
    ("images_per_s",),
    ("cold_start_s",),
    ("serving_efficiency",),
    ("warmup_s",),
    ("stages",),
)


@settings(max_examples=40)
@given(
    missing=st.lists(st.sets(st.sampled_from(LEAVES)), min_size=1, max_size=3),
    is_staged=st.booleans(),
    validity=st.sampled_from(["valid", "errors", "unstable", "wrong_output"]),
)
def test_what_is_missing_is_never_drawn(
    missing: list[set[tuple[str, ...]]], is_staged: bool, validity: str
) -> None:
    """Any figure may be missing: no plot fails, none has NaN, and no bar stands for nothing."""
    records = []
    for number, paths in enumerate(missing):
        record = deepcopy(told(saved_record(stack=f"stack{number}", validity=validity)))
        record = staged(record) if is_staged else record
        for *above, last in paths:
            place = record
            for key in above:
                place = place[key]
            place[last] = None
        records.append(record)
    plots = plots_of([run_of(*records)])
    for plot in plots:
        json.dumps(plot.spec, allow_nan=False)
    for name, path in (("throughput", ("images_per_s",)), ("cold-start", ("cold_start_s",))):
        there = sum(path not in paths for paths in missing)
        plot = drawn(plots, name)
        assert len(bars_in(plot)) == there
        assert bool(plot.absent) == (not there)


def fields_in(spec: Any) -> Iterator[str]:
    """Yield the fields that a specification draws or makes."""
    if isinstance(spec, Mapping):
        if isinstance(spec.get("field"), str):
            yield spec["field"]
        yield from spec["as"] if isinstance(spec.get("as"), list) else ()
        for part in spec.values():
            yield from fields_in(part)
    elif isinstance(spec, (list, tuple)):
        for part in spec:
            yield from fields_in(part)


def test_no_field_has_the_name_of_one_of_vegas() -> None:
    """A field called count is overwritten where lines are told apart, and all lines become one."""
    records = [staged(told(saved_record())), told(at_load(1)), told(at_load(4, 2.0))]
    for plot in plots_of([run_of(*records)]):
        assert "count" not in set(fields_in(plot.spec)), plot.name
