"""A real model directory on a free port of this machine, which can be told to misbehave."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TOKEN = 's3cret-T0ken-of-the-directory'


@dataclass
class Asked:
    """One request that arrived."""

    path: str
    name: str | None
    authorization: str | None


@dataclass
class Directory:
    """What the directory knows, and what it was asked.

    Attributes:
        url: for `api_endpoint=`.
        models: what it answers, by model name.
        token: what `Authorization` must be, or None for anything.
        raw: bytes that it sends in place of an HTTP response, or None.
        answer: status, headers and body that it sends in place of a look-up, or None.
        first: answers that it sends before that, one a look-up.
        silent: `'headers'` or `'body'`: where it stops to send, and waits until it is closed.
        asked: the requests, in order.
    """

    url: str = ''
    models: dict = field(default_factory=dict)
    token: str | None = TOKEN
    raw: bytes | None = None
    answer: tuple | None = None
    first: list = field(default_factory=list)
    silent: str = ''
    asked: list = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def look_up(self, path: str, name: str | None, authorization: str | None) -> tuple:
        if self.first:
            return self.first.pop(0)
        if self.answer is not None:
            return self.answer
        if self.token is not None and authorization != self.token:
            return 401, {}, {'detail': f'bad token {authorization}'}
        if path == '/api/v1/models/' and name is None:
            return 200, {}, {'models': [{'name': one, **known} for one, known in self.models.items()]}
        if path != '/api/v1/models/' or name not in self.models:
            return 404, {}, {'detail': 'no such model'}
        return 200, {}, {'name': name, **self.models[name]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        directory = self.server.directory
        parts = urlsplit(self.path)
        name = parse_qs(parts.query).get('model_name', [None])[0]
        asked = Asked(parts.path, name, self.headers.get('Authorization'))
        directory.asked.append(asked)
        if directory.silent == 'headers':
            directory.closing.wait(60)
            return
        if directory.raw is not None:
            self.wfile.write(directory.raw)
            self.close_connection = True
            return
        status, headers, body = directory.look_up(asked.path, asked.name, asked.authorization)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in {
            'Content-Type': 'application/json',
            'Content-Length': str(len(data)),
            **headers,
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if directory.silent == 'body':
            self.wfile.write(data[:1])
            directory.closing.wait(60)
            return
        self.wfile.write(data)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """A client that hangs up is no failure of the directory."""


@contextmanager
def model_directory(models=None, **options):
    """Serve a `Directory` while the context is open."""
    with Server(('127.0.0.1', 0), Handler) as server:
        directory = Directory(f'http://127.0.0.1:{server.server_port}/api/v1', models or {}, **options)
        server.directory = directory
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield directory
        finally:
            directory.closing.set()
            server.shutdown()
            thread.join()
