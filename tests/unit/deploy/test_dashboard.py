"""The dashboard asks Prometheus for what the servers really have, and Grafana finds it where it looks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pytest_servebench.reports.terminal import DASHBOARD_PATH
from tests.composes import DEPLOY
from tests.doc_blocks import ROOT

DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "servebench.json").read_text(encoding="utf-8"))
PROVISIONING = DEPLOY / "grafana" / "provisioning"
EXPOSITIONS = {
    "fastapi": ("fastapi.txt", "fastapi_gpu.txt"),
    "triton": ("triton.txt",),
    "torchserve": ("torchserve.txt",),
}
"""What the servers said, by stack: tests/expositions/README.md."""
NOT_SEEN = {
    # Triton's metrics of a GPU need one; its documentation and its binary have these names.
    "triton": {"nv_gpu_utilization": {"gpu_uuid"}, "nv_gpu_memory_used_bytes": {"gpu_uuid"}},
    # TorchServe shows it once a request has failed so; its frontend has the name beside Requests4XX.
    "torchserve": {"Requests5XX": {"Level", "Hostname"}},
    "fastapi": {},
}
ADDED = {"stack", "instance", "job"}
"""Labels that Prometheus itself puts on every series."""
_SELECTOR = re.compile(r"(\w+)\{([^}]*)\}")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_BY = re.compile(r"\bby \(([^)]*)\)")


def panels() -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Yield each query with its panel's title."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def labels_of(stack: str) -> dict[str, set[str]]:
    """Return every series name that a stack has shown, with its labels."""
    found: dict[str, set[str]] = {name: set(labels) for name, labels in NOT_SEEN[stack].items()}
    for file in EXPOSITIONS[stack]:
        text = (ROOT / "tests" / "expositions" / file).read_text(encoding="utf-8")
        # TorchServe ends its labels with a comma, which Prometheus takes and this parser does not.
        for family in text_string_to_metric_families(text.replace(",}", "}")):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
        # The parser gives counters the ending _total, which Triton's and TorchServe's do not have.
        for line in text.splitlines():
            if line and not line.startswith("#"):
                found.setdefault(re.split(r"[{ ]", line)[0], set()).update(_LABEL.findall(line))
    return found


@pytest.mark.parametrize(("title", "query"), list(queries()))
def test_a_query_asks_for_what_a_stack_has(title: str, query: str) -> None:
    """Every selector is of one stack, and its metric and labels are in that stack's real metrics."""
    selectors = _SELECTOR.findall(query)
    assert selectors, title
    for metric, labels in selectors:
        (stack,) = re.findall(r'stack="(\w+)"', labels)
        known = labels_of(stack)
        assert metric in known, f"{title}: {stack} has no {metric}"
        assert set(_LABEL.findall(labels)) <= known[metric] | ADDED, f"{title}: {metric}"
        grouped = {word.strip() for by in _BY.findall(query) for word in by.split(",")}
        assert grouped <= known[metric] | ADDED, f"{title}: {metric} has no {grouped}"


def test_every_query_is_promql(tmp_path: Path) -> None:
    """Prometheus' own checker takes every query, as the expression of a rule."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian's package prometheus has it)")
    rules = [
        {"record": f"query:{index}", "expr": query.replace("$__rate_interval", "1m")}
        for index, (_, query) in enumerate(queries())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "check", "rules", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_the_dashboard_shows_what_it_promises() -> None:
    """Percentiles, throughput, batches, queue, GPU use and memory, of every stack that has them."""
    shown: dict[str, set[str]] = {}
    for title, query in queries():
        shown.setdefault(title, set()).update(re.findall(r'stack="(\w+)"', query))
    every = {"fastapi", "triton", "torchserve"}
    of_all = ("Requests per second", "Images per second", "p95 inside the server", "Mean batch size")
    for title in (*of_all, "Mean time in the queue", "Failed requests per second"):
        assert shown[title] == every, title
    for title in ("Requests that wait", "GPU use", "GPU memory"):
        assert shown[title] == {"fastapi", "triton"}, title
    legends = [[target["legendFormat"] for target in panel["targets"]] for panel in panels()]
    assert legends.count(["p50", "p95", "p99"]) == len(every)


def test_panels_do_not_lie_on_each_other() -> None:
    """Every panel has an id and a place of its own in Grafana's 24 columns, and the one data source."""
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= own
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_grafana_finds_source_and_dashboard() -> None:
    """Provisioning names the data source that panels ask, and the folder that compose mounts."""
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text("utf-8"))[
        "datasources"
    ]
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "servebench.yaml").read_text("utf-8"))[
        "providers"
    ]
    services = yaml.safe_load((DEPLOY / "services.yaml").read_text("utf-8"))["services"]
    assert {panel["datasource"]["uid"] for panel in panels()} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    assert DASHBOARD_PATH.endswith(f"/{DASHBOARD['uid']}")
