#!/bin/sh
# Makes a virtual environment and installs this project into it with everything it can use.
#
#   sh install.sh FOLDER
#
# PYTHON  the interpreter to use (python3)
# TORCH   cpu: the CPU build; cuda: the build on PyPI, several GB of CUDA with it;
#         auto: cuda where nvidia-smi lists a GPU, else cpu
# WHAT    what to install (-e .[dev]; with TORCH=cuda -e .[gpu,docs,tools], whose onnxruntime is that for GPUs)
set -eu

folder=$1
python=${PYTHON:-python3}
torch=${TORCH:-auto}
version=$(sed -n 's/^torch==//p' constraints.txt)
cpu_index=https://download.pytorch.org/whl/cpu

[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
pip() { "$folder/bin/python" -m pip --disable-pip-version-check "$@"; }

if [ "$torch" = auto ]; then
    if nvidia-smi -L 2>/dev/null | grep -q GPU; then torch=cuda; else torch=cpu; fi
fi

if [ "$torch" = cuda ]; then
    if ! "$folder/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "install.sh: onnxruntime for CUDA 13 needs Python 3.11 or later, and $python is older:" \
            "give another one as PYTHON, or TORCH=cpu; docs/gpu.md has the way by CUDA 12" >&2
        exit 1
    fi
    what=${WHAT:--e .[gpu,docs,tools]}
else
    what=${WHAT:--e .[dev]}
fi

# A plain "torch" on a machine without a GPU would fetch CUDA packages of several GB. The CPU build
# bears the local version +cpu: taken from where pip already looks, else from PyTorch's own index.
if [ "$torch" = cpu ]; then
    pip install --quiet "torch==$version+cpu" -c constraints.txt 2>/dev/null ||
        pip install --quiet "torch==$version+cpu" -c constraints.txt --extra-index-url "$cpu_index"
fi

pip install --quiet $what -c constraints.txt
