"""MLflow's own server in a thread of the test, which can be told to fail; and servers that are none."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import Thread
from typing import TypeVar
from unittest.mock import patch
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

S = TypeVar("S", bound=HTTPServer)


class Server(ThreadingMixIn, WSGIServer):
    """Answers `left` requests, then hangs up on whoever connects; None: answers all."""

    daemon_threads = True
    left: int | None = None
    files: Path
    """The artifacts of all runs and models."""

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(WSGIRequestHandler):
    server: Server

    def handle(self) -> None:
        if self.server.left is not None:
            if self.server.left == 0:
                return
            self.server.left -= 1
        super().handle()

    def log_message(self, *arguments: object) -> None: ...


@contextmanager
def mlflow_server(folder: Path) -> Iterator[Server]:
    settings = {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{(folder / 'server.db').as_posix()}",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    with patch.dict(os.environ, settings):
        # It reads the settings when it is imported.
        from mlflow.server import app, handlers  # noqa: PLC0415

        with patch.dict(os.environ):  # it sets MLFLOW_TRACKING_URI
            handlers.initialize_backend_stores()
        with running(Server(("127.0.0.1", 0), Handler)) as server:
            server.set_app(app)
            server.files = folder / "artifacts"
            yield server


@contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Iterator[str]:
    """URI of a server that has the same answer to everything."""

    class Same(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer  # noqa: N815  the base class looks these names up

        def log_message(self, *arguments: object) -> None: ...

    with running(HTTPServer(("127.0.0.1", 0), Same)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@contextmanager
def silent() -> Iterator[str]:
    """URI of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def running(server: S) -> Iterator[S]:
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
