"""What Prometheus is told is right: by its own tool, and by what the stacks have at these addresses."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import yaml

from pytest_servebench.compose.services import STACKS
from tests.composes import DEPLOY

CONFIG = DEPLOY / "prometheus" / "prometheus.yml"


def test_promtool_takes_the_configuration() -> None:
    """Prometheus' own checker finds nothing wrong."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian's package prometheus has it)")
    done = subprocess.run(
        ["promtool", "check", "config", str(CONFIG)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_stack_is_scraped_where_its_metrics_are() -> None:
    """A stack is found by its name in the compose network, on the port of its metrics, if it is up at all."""
    jobs = {
        job["job_name"]: job for job in yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["scrape_configs"]
    }
    assert set(jobs) == set(STACKS)
    for name, service in STACKS.items():
        (found,) = jobs[name]["dns_sd_configs"]
        inside = {port.role: port.inside for port in service.ports}
        assert (found["names"], found["type"]) == ([name], "A")
        assert found["port"] == inside.get("metrics", inside["http"])
        assert {"source_labels": ["job"], "target_label": "stack"} in jobs[name]["relabel_configs"]
