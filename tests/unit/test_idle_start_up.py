"""What a pytest pays for a plugin that is installed and not asked for anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TEST = """
import sys

def test_what_is_loaded():
    loaded = {name.partition(".")[0] for name in sys.modules} - set(BEFORE)
    print("LOADED", *sorted(loaded - set(sys.stdlib_module_names)))
    print("HEAVY", *sorted({"ssl", "http.client", "multiprocessing", "asyncio"} & set(sys.modules)))
"""
SESSION = """
import sys
import pytest, _pytest.terminal
before = {name.partition(".")[0] for name in sys.modules}
text = open("test_it.py").read()
open("test_it.py", "w").write(f"BEFORE = {sorted(before)!r}\\n{text}")
sys.exit(pytest.main(["-q", "-s", "-p", "pytest_servebench.plugin", "-p", "no:cacheprovider"]))
"""


def test_no_library_is_loaded_before_a_stack_is_asked_for(tmp_path: Path) -> None:
    """Nobody waits for numpy who only has the plugin installed, or finds it set up before a conftest did."""
    (tmp_path / "test_it.py").write_text(TEST, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-P", "-c", SESSION],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = {words[0]: words[1:] for words in map(str.split, done.stdout.splitlines()) if words}
    # tomli reads TOML before Python 3.11.
    assert set(told["LOADED"]) - {"tomli", "test_it"} == {"pytest_servebench"}
    assert told["HEAVY"] == []
