# NVIDIA's Triton, with what its Python backend needs to decode images. Models are mounted where it runs.
#
#   docker build -f triton.Dockerfile .
ARG BASE=nvcr.io/nvidia/tritonserver:25.10-py3

FROM ${BASE} AS packages
# hadolint ignore=DL3002
USER 0:0
# The brackets let the folder "wheels" be absent.
COPY requirements/triton.txt wheel[s] /build/
RUN pip='python3 -m pip'; \
    $pip --version || { python3 -m venv /opt/pip && pip=/opt/pip/bin/pip; }; \
    if ls /build/*.whl >/dev/null 2>&1; then set -- --no-index --find-links /build; fi; \
    $pip install --no-cache-dir --disable-pip-version-check --no-deps "$@" \
        --target /opt/packages -r /build/triton.txt && \
    python3 -c 'import site; print(site.getsitepackages()[0])' >/opt/packages/site

FROM ${BASE}
COPY --from=packages /opt/packages /opt/packages
USER 0:0
# The Python backend ignores PYTHONPATH, so that a file where its Python looks leads to the packages. What the
# image has of them comes first.
RUN mv /opt/packages/site /tmp/site && mkdir -p "$(cat /tmp/site)" && \
    echo /opt/packages >"$(cat /tmp/site)/servebench.pth" && rm /tmp/site
USER 1000:1000
EXPOSE 8000 8001 8002
