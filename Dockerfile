# syntax=docker/dockerfile:1
# The tag is not pinned by digest here, as this file was written without a registry. Pin it in your own copy:
# `docker buildx imagetools inspect python:3.13-slim` prints the digest. Renovate does it (.github/renovate.json).
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
WORKDIR /src
# The locked packages: production, or tracing, which has the extra `otel` too.
ARG LOCK=production
COPY lock/build.txt lock/${LOCK}.txt lock/
# Two environments: that of the gateway has neither pip nor a build tool.
RUN python3 -m venv /opt/build && \
    /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r lock/build.txt && \
    python3 -m venv --without-pip /opt/venv && \
    /opt/build/bin/pip --python /opt/venv install --no-cache-dir --disable-pip-version-check --require-hashes \
        --only-binary :all: -r "lock/${LOCK}.txt"
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
RUN /opt/build/bin/pip wheel --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation -w wheels . && \
    /opt/build/bin/pip --python /opt/venv install --no-cache-dir --disable-pip-version-check --no-deps wheels/*.whl

FROM ${PYTHON}
# The system's own pip goes too. The folders belong to the user: a volume mounted there inherits that.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3.*/site-packages/pip* /usr/local/lib/python3.*/ensurepip && \
    useradd --system --uid 10001 --no-create-home --home-dir /nonexistent fal-proxy && \
    install -d -o 10001 -g 10001 -m 0700 /var/lib/fal-proxy && \
    install -d -m 0755 /etc/fal-proxy
COPY --from=build /opt/venv /opt/venv
USER 10001
WORKDIR /var/lib/fal-proxy
# Workers share their metrics by a folder: /dev/shm is writable on a read-only root too.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TMPDIR=/dev/shm
# The ledger's file, where ledger.path is /var/lib/fal-proxy/ledger.db.
VOLUME /var/lib/fal-proxy
# Callers, and the admin listener: set admin.host to 0.0.0.0 and admin.token_env to reach it from outside.
EXPOSE 8080 9090
# SIGTERM stops in good order within 40 s, or 130 s where an endpoint lists runs: `docker run --stop-timeout 130`.
STOPSIGNAL SIGTERM
# FAL_KEY and the other secrets come from the environment or from *_FILE mounts, never from the image.
ENTRYPOINT ["fal-proxy"]
CMD ["serve", "/etc/fal-proxy/config.toml", "--host", "0.0.0.0"]
# Reads no configuration and imports no more than sockets: 0.1 s of CPU.
HEALTHCHECK --interval=15s --timeout=3s --start-period=30s \
    CMD ["/bin/sh", "-c", "exec fal-proxy health --host 127.0.0.1 --port ${PORT:-8080}"]
