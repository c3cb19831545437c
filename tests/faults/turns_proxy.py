"""A proxy that takes turns over several servers, one connection each."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Lock, Thread


class TurnsProxy(ThreadingTCPServer):
    """Forwards each connection to the next server; counts the connections of each."""

    daemon_threads = True

    def __init__(self, ports: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), _Forward)
        self.connections = dict.fromkeys(ports, 0)
        self._turns, self._lock = cycle(ports), Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_port(self) -> int:
        with self._lock:
            port = next(self._turns)
            self.connections[port] += 1
            return port


class _Forward(BaseRequestHandler):
    server: TurnsProxy
    request: socket.socket

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.next_port())) as upstream:
            back = Thread(target=_pump, args=(upstream, self.request), daemon=True)
            back.start()
            _pump(self.request, upstream)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def take_turns(ports: list[int]) -> Iterator[TurnsProxy]:
    """Serve until the block ends."""
    with TurnsProxy(ports) as proxy:
        Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy
        proxy.shutdown()
