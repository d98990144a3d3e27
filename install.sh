#!/bin/sh
# Makes a virtual environment and installs this project into it with everything it can use.
#
#   sh install.sh FOLDER
#
# PYTHON  the interpreter to use (python3)
# TORCH   cpu: the CPU build; cuda: the build on PyPI, several GB of CUDA with it;
#         auto: cuda where nvidia-smi lists a GPU, else cpu
# WHAT    what to install (-e .[dev])
set -eu

folder=$1
python=${PYTHON:-python3}
torch=${TORCH:-auto}
what=${WHAT:--e .[dev]}
version=$(sed -n 's/^torch==//p' constraints.txt)
cpu_index=https://download.pytorch.org/whl/cpu

[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
pip() { "$folder/bin/python" -m pip --disable-pip-version-check "$@"; }

if [ "$torch" = auto ]; then
    if nvidia-smi -L 2>/dev/null | grep -q GPU; then torch=cuda; else torch=cpu; fi
fi

# A plain "torch" on a machine without a GPU would fetch CUDA packages of several GB. The CPU build
# bears the local version +cpu: taken from where pip already looks, else from PyTorch's own index.
if [ "$torch" = cpu ]; then
    pip install --quiet "torch==$version+cpu" -c constraints.txt 2>/dev/null ||
        pip install --quiet "torch==$version+cpu" -c constraints.txt --extra-index-url "$cpu_index"
fi

pip install --quiet $what -c constraints.txt
