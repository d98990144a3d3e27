# Triton's server as the nvidia-pytriton wheel carries it: the Python backend alone, which runs models with
# onnxruntime and torch. For machines without a GPU or without NVIDIA's image. Models are mounted where it runs.
#
#   docker build -f triton-cpu.Dockerfile .
ARG BASE=python:3.11.14-slim-bookworm
# cpu or cuda.
ARG ENGINES=cpu

# The stages up to "engines" are the same, line for line, in every image that runs models with onnxruntime
# and torch: built once, stored once.
FROM ${BASE} AS python
# Most bases have no Python, or one without venv.
# hadolint ignore=DL3008
RUN if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then \
        apt-get update && \
        DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3 python3-venv && \
        rm -rf /var/lib/apt/lists/*; \
    fi
ENV PYTHONUNBUFFERED=1

FROM python AS engines
ARG ENGINES
# The CPU build of torch is there. No index is asked where there are wheels to build from.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# The brackets let the folder "wheels" be absent.
COPY requirements/engines-${ENGINES}.txt wheel[s] /build/
# pip stays here: the environment that is copied has none. Neither needs it torch's C++ headers, tests and tools.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/venv && \
    if ls /build/*.whl >/dev/null 2>&1; then echo '--no-index --find-links /build'; \
    elif [ "$ENGINES" = cpu ]; then echo "--extra-index-url $TORCH_INDEX"; fi >/build/sources && \
    xargs -a /build/sources /opt/pip/bin/pip --python /opt/venv/bin/python install \
        --no-cache-dir --disable-pip-version-check -r "/build/engines-${ENGINES}.txt" && \
    rm -rf /opt/venv/lib/python3*/site-packages/torch/include /opt/venv/lib/python3*/site-packages/torch/test && \
    find /opt/venv/lib/python3*/site-packages/torch/bin -type f ! -name torch_shm_manager -delete

FROM engines AS server
COPY requirements/triton-cpu.txt /build/
# The server's files are laid out as in NVIDIA's image. The backend starts its models in a stub for this Python.
RUN xargs -a /build/sources /opt/pip/bin/pip --python /opt/venv/bin/python install \
        --no-cache-dir --disable-pip-version-check --no-deps --prefix /opt/server -r /build/triton-cpu.txt && \
    site=$(echo /opt/server/lib/python3*/site-packages) && \
    wheel=$site/pytriton/tritonserver && \
    mkdir /opt/tritonserver && \
    mv "$wheel/bin" "$wheel/backends" /opt/tritonserver/ && \
    mv "$site/nvidia_pytriton.libs" /opt/tritonserver/lib && \
    mv "$wheel/python_backend_stubs/$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"/* \
        /opt/tritonserver/backends/python/ && \
    rm -rf "$site"/pytriton "$site"/nvidia_pytriton*

FROM python
# The stub links to Python's shared library; a Python from Debian keeps it in a package of its own.
# hadolint ignore=DL3008
RUN version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])') && \
    if ! python3 -c "import ctypes; ctypes.CDLL('libpython$version.so.1.0')" 2>/dev/null; then \
        apt-get update && \
        apt-get install --yes --no-install-recommends "libpython$version" && \
        rm -rf /var/lib/apt/lists/*; \
    fi
COPY --from=engines /opt/venv /opt/venv
COPY --from=server /opt/tritonserver /opt/tritonserver
COPY --from=server /opt/server /opt/venv
ENV PATH=/opt/venv/bin:/opt/tritonserver/bin:$PATH LD_LIBRARY_PATH=/opt/tritonserver/lib
USER 1000:1000
EXPOSE 8000 8001 8002
