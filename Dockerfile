# syntax=docker/dockerfile:1
# One image for API and worker, on CPU and GPU. Where pip is to look is pip's own setting: --build-arg PIP_INDEX_URL=...
FROM python:3.11-slim-bookworm AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
WORKDIR /src
RUN python -m venv /opt/adamss
ENV PATH=/opt/adamss/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# What it needs first: these layers stay while only our code changes.
COPY constraints.txt ./
RUN pip install -c constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY adamss_core adamss_core
COPY service service
COPY worker worker
COPY migrations migrations
RUN pip install -c constraints.txt ".[service,quantized]"

FROM python:3.11-slim-bookworm
RUN groupadd --system --gid 10001 adamss \
    && useradd --system --uid 10001 --gid adamss --create-home --home-dir /home/adamss adamss \
    && install -d -o adamss -g adamss -m 0700 /var/lib/adamss /var/lib/adamss/run
COPY --from=build /opt/adamss /opt/adamss
ENV PATH=/opt/adamss/bin:$PATH ADAMSS_HOME=/var/lib/adamss PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TOKENIZERS_PARALLELISM=false
# By number, so that Kubernetes can tell that it is not root.
USER 10001:10001
WORKDIR /home/adamss
VOLUME /var/lib/adamss
EXPOSE 8642
# Of the API; a worker says whether it is alive with `python -m worker.health`.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8642/healthz', timeout=4)"]
CMD ["adamss", "api"]
