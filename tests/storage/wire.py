"""A stretch of network before PostgreSQL that loses a COMMIT, or the answer to it, when it is told to."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

Fault = Literal["request lost", "answer lost", "request delayed"]
PASSED_ON = b"COMMIT\x00"  # the text of the query, and the tag of its completion, end so


class Wire:
    """Forwards connections to the server of `database_url`; `url` leads through it.

    `lose(fault)` concerns the next COMMIT, once. The client's connection closes in each case; what the server gets is

    request lost      no COMMIT, and the end of the connection
    answer lost       the COMMIT; the connection closes once it is done
    request delayed   nothing, until `deliver()` passes the COMMIT on or `drop()` ends the connection
    """

    def __init__(self, database_url: str) -> None:
        target = conninfo_to_dict(database_url)
        host, port = str(target.get("host") or "127.0.0.1"), int(target.get("port") or 5432)
        self._target = str(Path(host) / f".s.PGSQL.{port}") if host.startswith("/") else (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._fault: Fault | None = None
        self._delayed: tuple[socket.socket, bytes] | None = None
        self._unanswered: socket.socket | None = None
        self.happened = threading.Event()
        user = quote(str(target.get("user") or "postgres"), safe="")
        password = f":{quote(str(target['password']), safe='')}" if target.get("password") else ""
        self.url = (
            f"postgresql://{user}{password}@127.0.0.1:{self._listener.getsockname()[1]}/{target['dbname']}"
            "?sslmode=disable&gssencmode=disable"
        )
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, fault: Fault) -> None:
        self.happened.clear()
        self._fault = fault

    def deliver(self) -> None:
        server, request = self._take_delayed()
        server.sendall(request)
        server.shutdown(socket.SHUT_WR)

    def drop(self) -> None:
        _cut(self._take_delayed()[0])

    def close(self) -> None:
        self._listener.close()

    def _take_delayed(self) -> tuple[socket.socket, bytes]:
        if self._delayed is None:
            raise RuntimeError("no COMMIT is on its way")
        delayed, self._delayed = self._delayed, None
        return delayed

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET)
                server.connect(self._target)
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._back, args=(client, server), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := client.recv(65_536):
                if PASSED_ON in chunk and self._fault is not None:
                    fault, self._fault = self._fault, None
                    self._go_wrong(fault, chunk, client, server)
                    return
                server.sendall(chunk)
            server.shutdown(socket.SHUT_RDWR)

    def _go_wrong(self, fault: Fault, request: bytes, client: socket.socket, server: socket.socket) -> None:
        if fault == "answer lost":
            self._unanswered = server
            server.sendall(request)
            return
        if fault == "request delayed":
            self._delayed = (server, request)
        else:
            _cut(server)
        _cut(client)
        self.happened.set()

    def _back(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := server.recv(65_536):
                if self._unanswered is server and PASSED_ON in chunk:
                    self.happened.set()
                    break
                client.sendall(chunk)
        _cut(client)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
