"""Behind the reception: what one pytest session needs, from plan to table."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from pytest_servebench.cases import cases_for
from pytest_servebench.errors import PlanError
from pytest_servebench.gate import judge
from pytest_servebench.interfaces import Stack
from pytest_servebench.launchers import docker
from pytest_servebench.options import make_plan, read_thresholds
from pytest_servebench.placement import Surroundings, hardware_of
from pytest_servebench.plan import Case, Plan, Threshold
from pytest_servebench.record import make_record, plan_facts, response_times_s
from pytest_servebench.recording import Recorder, register
from pytest_servebench.reports.progress import LiveProgress
from pytest_servebench.reports.terminal import header_lines, summary_text
from pytest_servebench.results import CaseResult, Judgement, Validity, Verdict
from pytest_servebench.session import BenchSession, Servebench
from pytest_servebench.telemetry.gpu import gpu_names
from pytest_servebench.telemetry.machine import machine_facts
from pytest_servebench.thresholds import ThresholdsFile, thresholds_for, why_ungated
