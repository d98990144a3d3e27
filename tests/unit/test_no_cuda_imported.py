"""On a machine without a GPU nothing that is CUDA's is imported or loaded: not by a module, nor by a plan."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.doc_blocks import ROOT

OF_CUDA = (
    "tensorrt",
    "tensorrt_bindings",
    "torch_tensorrt",
    "onnxruntime_ep_nv_tensorrt_rtx",
    "nvidia",
    "cuda",
    "cupy",
    "numba",
    "torchvision",
    "tritonclient.utils.cuda_shared_memory",
)
"""Top packages, and one module, that load CUDA or are of no use without it."""
ENGINES = ("torch", "onnxruntime", "pynvml")
"""What modules of ours import when it is used, and not before."""
GUARD = f"""
import importlib, pkgutil, sys

class Guard:
    forbidden = set({OF_CUDA!r})
    def find_spec(self, name, path=None, target=None):
        if name in self.forbidden or name.partition('.')[0] in self.forbidden:
            # Whoever only asks where a module lies goes through importlib.util.
            asking = sys._getframe(2).f_globals['__name__'] == 'importlib.util'
            if not asking:
                raise AssertionError(name + ' is imported')

guard = Guard()
sys.meta_path.insert(0, guard)

def loaded():
    with open('/proc/self/maps') as maps:
        return sorted({{line.split('/')[-1].strip() for line in maps if any(
            name in line for name in ('libcuda', 'libcudart', 'libcudnn', 'libcublas', 'libnvinfer'))}})

def cuda_began():
    torch = sys.modules.get('torch')
    return bool(torch and torch.cuda.is_initialized())
"""
MODULES = """
import pytest_servebench
guard.forbidden |= set(ENGINES)
count = 0
for found in pkgutil.walk_packages(pytest_servebench.__path__, 'pytest_servebench.'):
    if found.name not in IN_A_PROCESS_OF_ITS_OWN and not {'_shipped', '__main__'} & {*found.name.split('.')}:
        importlib.import_module(found.name)
        count += 1
print(count > 200, loaded(), cuda_began())
"""
DOCTOR_AND_PLAN = """
import os
from pytest_servebench.cli import main
from pytest_servebench.launchers.docker import engine_facts
from pytest_servebench.options.given import Given
from pytest_servebench.options.planning import plan_for
from pytest_servebench.stacks import built_in_stacks
from pytest_servebench.surroundings import look_around
from pytest_servebench.telemetry.gpu_devices import gpu_names
sys.stdout = open(os.devnull, 'w')
main(['doctor', '--no-noise'], standalone_mode=False)
sys.stdout = sys.__stdout__
asked = {'stack': Given(flag='--stack', text='available'), 'format': Given(flag='--serve-format', text='all'),
         'dtype': Given(flag='--serve-dtype', text='all')}
plan = plan_for(asked, {one.name: one for one in built_in_stacks()}, look_around(gpu_names()))
print(bool(plan.left_out), loaded(), cuda_began())
"""
IN_A_PROCESS_OF_ITS_OWN = (
    "pytest_servebench.models.torch_export",
    "pytest_servebench.models.torch_half",
    "pytest_servebench.models.torch_pixel_input",
    "pytest_servebench.models.resnet50",
    "pytest_servebench.models.efficientnet_lite0",
)
"""Modules that export a model with torch, which nothing imports beside them."""


def said_by(program: str) -> str:
    """Return the last line of a program that imports nothing of CUDA's, in a process of its own."""
    names = f"ENGINES, IN_A_PROCESS_OF_ITS_OWN = {ENGINES!r}, {IN_A_PROCESS_OF_ITS_OWN!r}\n"
    done = subprocess.run(
        [sys.executable, "-P", "-c", GUARD + names + program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LD_LIBRARY_PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


def test_no_module_imports_an_engine_or_anything_of_cuda() -> None:
    """Every module of the package is imported; those that export models with torch have their own process."""
    assert said_by(MODULES) == "True [] False"


def test_neither_the_doctor_nor_a_plan_imports_anything_of_cuda() -> None:
    """What there is of a GPU's packages is told by files; formats and precisions are planned by words."""
    assert said_by(DOCTOR_AND_PLAN) == "True [] False"
