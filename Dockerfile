# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
WORKDIR /src
COPY lock/runtime.txt lock/runtime.txt
RUN python -m venv /opt/venv && \
    /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r lock/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home fal-proxy
COPY --from=build /opt/venv /opt/venv
USER 10001
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 8080
# FAL_KEY and the other secrets come from the environment or from *_FILE mounts, never from the image.
ENTRYPOINT ["fal-proxy"]
CMD ["serve", "/etc/fal-proxy/config.toml"]
HEALTHCHECK --interval=10s --timeout=3s CMD ["fal-proxy", "health", "--host", "127.0.0.1", "--port", "8080"]
