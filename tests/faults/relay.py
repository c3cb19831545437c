"""A TCP relay before a server, which can fall silent as a network does that is cut: nothing is refused or closed."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Event, Thread


class Relay:
    """Forward connections to a port of this machine, until it is cut.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._passes = Event()
        self._passes.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._accept, name="relay", daemon=True).start()

    def cut(self) -> None:
        """Let what is sent from now on wait, in both directions; connections stay open."""
        self._passes.clear()

    def heal(self) -> None:
        """Deliver what has waited."""
        self._passes.set()

    def close(self) -> None:
        """Close the port and all connections."""
        self._passes.set()
        for one in (self._listener, *self._ends):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [client, server]
                for source, sink in ((client, server), (server, client)):
                    Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._passes.wait()
                sink.sendall(data)
        with suppress(OSError):
            self._passes.wait()
            sink.shutdown(socket.SHUT_WR)
