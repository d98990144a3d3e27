#!/bin/sh
# Proves the installation: builds the wheel, installs it into a fresh environment in an empty
# folder, and runs a benchmark from there as the README has it.
#
#   sh .ci/wheel.sh install FOLDER   builds and installs; nothing is timed, so it may run beside other work
#   sh .ci/wheel.sh run FOLDER       runs the benchmark
set -eu
folder=$2
mkdir -p "$folder"

install() {
    .venv/bin/python -m build --quiet --wheel --outdir "$folder/dist" .
    cp install.sh constraints.txt "$folder/"
    cp docs/examples/test_my_model.py "$folder/"
    cd "$folder"
    WHAT="$(echo dist/*.whl)[fastapi,models]" PYTHON="${PYTHON:-python3}" TORCH="${TORCH:-auto}" sh install.sh venv
}

run() {
    cd "$folder"
    venv/bin/python -m pytest test_my_model.py --stack=fastapi --serve-quick --benchmark-json=result.json
    venv/bin/python - <<'PYTHON'
import json
import pytest_servebench
assert "site-packages" in pytest_servebench.__file__, pytest_servebench.__file__
record = json.load(open("result.json"))
names = [entry["name"] for entry in record["benchmarks"]]
assert names, "nothing was recorded"
print("recorded from the wheel:", *names, sep="\n  ")
PYTHON
}

"$1"
