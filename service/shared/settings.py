"""Settings from `ADAMSS_*` variables, and their defaults. No other module of the service reads the environment."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.request import getproxies, proxy_bypass

from pydantic import AfterValidator, Field, IPvAnyNetwork, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.shared.storage.home import Home

Days = Annotated[float, Field(gt=0, le=36_500)]
DEVICES = r"^(cpu:[1-9]\d{0,2}|fake:[1-9]\d{0,3}x[1-9]\d{0,4}GB(:[a-z0-9][a-z0-9._-]{0,39})?)$"
BrokerUrl = Annotated[str, Field(pattern=r"^(filesystem|redis|rediss)://.*$")]


def _signing_key(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"whsec_[A-Za-z0-9+/]{32,}={0,2}", secret.get_secret_value()):
        raise ValueError("must be whsec_ and at least 24 bytes in base64")
    return secret


def _store_url(url: str) -> str:
    """Refuse what no store has, and credentials: the URL is shown in answers and logs."""
    if not re.match(r"(s3|gs|az)://\w|file:///\w", url):
        raise ValueError("must begin with s3://BUCKET, gs://BUCKET, az://ACCOUNT/CONTAINER or file:///FOLDER")
    if re.search(r"[@?#]", url):
        raise ValueError(
            "must hold no credentials and options; set the store's own variables, such as AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    return url.rstrip("/")


def _no_empty_key(secret: SecretStr | None) -> SecretStr | None:
    """Treat an empty variable as absent: as a key it would let everybody in."""
    return secret if secret is not None and secret.get_secret_value().strip() else None


class Settings(BaseSettings):
    """Settings of API, worker and CLI. Each field has the variable `ADAMSS_` plus its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="ADAMSS_",
        use_attribute_docstrings=True,
        extra="ignore",
        hide_input_in_errors=True,  # the input may be a key
    )

    home: Path = Path("data")
    """Folder of the database, queue, data sets, models, checkpoints, artifacts and cache."""
    database_url: str | None = None
    """SQLAlchemy URL, such as postgresql+psycopg://user@host/adamss. Default: SQLite in the home folder."""
    storage_url: Annotated[str, AfterValidator(_store_url)] | None = None
    """Store of data sets, artifacts, checkpoints and logs, for hosts without a common file system: s3://bucket/prefix,
    gs://…, az://account/container or file:///folder; the store's own variables hold credentials. Default: the home
    folder alone."""
    storage_redirect: bool = False
    """Whether downloads of artifacts are redirected to the store, by an address that is valid for ten minutes."""
    storage_cache_bytes: Annotated[int, Field(ge=0)] | None = None
    """Size of the copies of stored files in a host's home folder, beyond which those used longest ago are removed.
    Default: limited by the disk only."""
    broker_url: BrokerUrl = "filesystem://"
    """Celery broker: filesystem:// (a folder in the home folder) or redis://host:6379/0."""
    host: str = "127.0.0.1"
    """Address to listen on. Any address but loopback requires that a key exists."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8642
    """Port to listen on."""
    api_processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes of the API on this home folder, which share limits and metrics; `adamss api --processes` sets it."""
    api_key: Annotated[SecretStr | None, AfterValidator(_no_empty_key)] = None
    """Key that is valid besides the keys in the database; the CLI sends it too."""
    url: str | None = None
    """Address of the service for the CLI and client. Default: http://host:port."""

    allowed_hosts: list[str] = []
    """Accepted Host headers, as a JSON list; ["*"] accepts all. Default: loopback and the service's own names."""
    trusted_proxies: list[IPvAnyNetwork] = []
    """Addresses or networks of proxies whose X-Forwarded-For and -Proto count, as a JSON list. Default: none."""

    allow_hub: bool | None = None
    """Whether base models and data sets may come from the hub. Default: only when bound to loopback."""
    hub_models: list[str] = []
    """Hub ids of models allowed even if `allow_hub` is false, as a JSON list."""
    hub_datasets: list[str] = []
    """Hub ids of data sets allowed even if `allow_hub` is false, as a JSON list."""
    openai_models: dict[str, str] = {}
    """Names of OpenAI's models, each with the base model that `/v1` takes for it, as a JSON object."""
    wandb: bool = False
    """Whether jobs of `/v1` may ask for a copy of their numbers in Weights & Biases (`integrations`). Workers need
    `adamss[wandb]` and its WANDB_API_KEY, and WANDB_BASE_URL for a server of one's own."""
    max_upload_bytes: Annotated[int, Field(ge=1)] = 1_073_741_824
    """Largest accepted data set file."""
    max_model_bytes: Annotated[int, Field(ge=1)] = 68_719_476_736
    """Largest base model that may be added, as an archive and unpacked."""

    requests_per_minute: Annotated[int, Field(ge=0)] = 3_000
    """Requests per minute and key; 0 for no limit."""
    project_queued_jobs: Annotated[int, Field(ge=0)] = 1_000
    """Queued and paused jobs that one project may have."""
    project_running_jobs: Annotated[int, Field(ge=1)] | None = None
    """Running jobs that one project may have. Default: one per worker."""
    project_storage_bytes: Annotated[int, Field(ge=0)] | None = None
    """Size of the data sets, models and artifacts that one project may store. Default: limited by the disk only."""

    device_hour_rate: Annotated[float, Field(ge=0)] | None = None
    """Price of an hour of one device, by which `GET /usage` and dry runs also count money. Default: none is shown."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    """Currency of the price, by its code."""

    heartbeat_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Time between a worker's renewals of its job's lease."""
    lease_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Time until a lease expires that its worker does not renew."""
    sweep_seconds: Annotated[float, Field(gt=0)] = 15.0
    """Time between a worker's searches for stranded jobs and expired leases."""
    reserve_seconds: Annotated[float, Field(gt=0)] = 600.0
    """Time that a job of several devices waits while smaller ones pass it; then a worker keeps places for it."""
    stall_seconds: Annotated[float, Field(gt=0)] = 900.0
    """Time without progress after which a training process is ended and retried."""
    shutdown_grace_seconds: Annotated[float, Field(gt=0)] = 45.0
    """Time for a training process to write its checkpoint when the worker is stopped."""
    job_time_limit_seconds: Annotated[float, Field(gt=0)] = 7 * 86_400.0
    """Longest time of training of a job, over all its attempts; a job's own `time_limit_seconds` holds where it is
    smaller. At the limit the best model so far is published. An attempt that takes twice as long and
    ADAMSS_STALL_SECONDS more, with loading and publishing, is ended without that."""
    worker_concurrency: Annotated[int, Field(ge=1, le=64)] = 1
    """Jobs that one worker runs at a time; normally one per device."""
    devices: Annotated[str | None, Field(pattern=DEVICES)] = None
    """Devices that a worker registers in the place of those that it finds: cpu:2 is two CPU devices, each a half of the
    machine for a process of its own; fake:2x24GB:a10 registers two for tests of the scheduler and trains nothing.
    Default: its GPUs, slices of MIG each for itself, or as many places on the CPU as ADAMSS_WORKER_CONCURRENCY."""
    jobs_per_device: Annotated[int, Field(ge=1, le=64)] = 1
    """Jobs of one device that may share it, as long as the memory that they are estimated to take fits together; a job
    takes a free device first. ADAMSS_WORKER_CONCURRENCY must allow as many."""
    missing_devices: Literal["wait", "refuse"] = "wait"
    """What becomes of a job that asks for more devices, or larger ones, than any worker has ever registered: it waits
    for such a worker, with a warning, or is refused."""
    device_locks: Path | None = None
    """Folder of the locks by which the workers of a host share its devices; all containers of the host must see the
    same one, and different hosts may. Default: `devices` in the home folder."""
    webhook_hosts: list[str] = []
    """Hosts that jobs may name in `webhook`, as a JSON list; ["*"] allows every public host."""
    webhook_secret: Annotated[SecretStr, AfterValidator(_signing_key)] | None = None
    """Key to sign webhooks: whsec_ and base64. Default: generated once and stored in `<home>/webhook_secret`."""
    webhook_private: bool = False
    """Whether webhooks may go to private and loopback addresses."""
    archive_metrics_days: Annotated[float, Field(ge=0)] | None = None
    """Days after a job's end until its metric rows move from the database to its artifact `metrics`. Default: never."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2
    """Number of newest checkpoints to keep of a job, besides the best."""
    retain_artifacts_days: Days | None = None
    """Days after a job's end until its artifacts are removed; a job's own `retention` goes before. Default: never."""
    retain_checkpoints_days: Days | None = None
    """Days after a job's end until its checkpoints are removed. Default: never."""
    retain_logs_days: Days | None = None
    """Days after a job's end until its training log is removed. Default: never."""
    retain_datasets_days: Days | None = None
    """Days until a data set is removed, from its upload or the end of the last job that used it. Default: never."""
    predict_timeout_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Longest time for one prediction, loading the model included."""
    predict_idle_seconds: Annotated[float, Field(gt=0)] = 300.0
    """Time after the last prediction until the predicting process drops its model."""
    predict_memory_bytes: Annotated[int, Field(ge=2**30)] = 8_589_934_592
    """Memory limit of the predicting process."""
    length_sample: Annotated[int, Field(ge=0)] = 2_000
    """Rows of a data set whose lengths in tokens are measured, in the background, for the estimate of memory; 0
    measures none."""
    forkserver_idle_seconds: Annotated[float, Field(ge=0)] = 600.0
    """Time after the last process on a model until API and worker end the one that it was forked from, which holds the
    imports of torch, transformers and peft in 450 MB; 0 starts each process anew, some five seconds later."""

    @model_validator(mode="after")
    def _lease_outlives_heartbeats(self) -> Self:
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise ValueError(
                f"ADAMSS_LEASE_SECONDS ({self.lease_seconds:g}) must be at least twice ADAMSS_HEARTBEAT_SECONDS "
                f"({self.heartbeat_seconds:g}), or healthy jobs would be taken from their workers"
            )
        return self

    @property
    def resolved_home(self) -> Path:
        return self.home.expanduser().resolve()

    @property
    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.files.database}"

    @property
    def resolved_url(self) -> str:
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return (self.url or f"http://{f'[{host}]' if ':' in host else host}:{self.port}").rstrip("/")

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def hub_allowed(self) -> bool:
        return self.is_loopback if self.allow_hub is None else self.allow_hub

    @property
    def resolved_device_locks(self) -> Path:
        return self.device_locks.expanduser().resolve() if self.device_locks else self.files.devices

    def egress_proxy(self, scheme: str, host: str) -> str | None:
        """Return the operator's proxy to a host outside: HTTPS_PROXY or HTTP_PROXY, unless NO_PROXY names the host."""
        proxies = getproxies()
        return None if proxy_bypass(host) else proxies.get(scheme) or proxies.get("all")

    @property
    def files(self) -> Home:
        """Return the paths of the home folder."""
        return Home(self.resolved_home)


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    return Settings()
