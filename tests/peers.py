"""Small real servers for what a Jina server cannot show: headers that came in, and answers gone wrong.

Each context manager gives the server's URL, and a list that collects what was sent as `authorization`.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import orjson
from ports import HOST
from websockets.sync.server import serve

from inference_client import Timeouts
from inference_client._wire.jina_pb2 import DataRequestProto


def within(seconds):
    """Timeouts of one attempt, as a driver gives them to a transport."""
    return Timeouts().within(seconds)


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def embed(data):
    """A good answer: each document with an embedding."""
    message = DataRequestProto.FromString(data)
    for document in message.data.docs.docs:
        document.embedding.dense.buffer = np.ones(2, '<f4').tobytes()
        document.embedding.dense.shape.append(2)
        document.embedding.dense.dtype = '<f4'
        document.embedding.cls_name = 'numpy'
    return message.SerializeToString()


def embed_json(data):
    body = orjson.loads(data)
    return 200, orjson.dumps({'data': [{**document, 'embedding': [1.0, 1.0]} for document in body['data']]})


@contextlib.contextmanager
def grpc_peer(answer=embed, refuse=None, max_size=-1, gateway=False):
    """Answers every call with `answer(bytes)`, or aborts with the status that `refuse` is or gives.

    It takes so many bytes at once, and one stream for many requests if it is a gateway.
    """
    seen = []

    def handle(data, context):
        seen.append(dict(context.invocation_metadata()).get('authorization'))
        status = refuse() if callable(refuse) else refuse
        if status is not None:
            context.abort(status, 'refused by the peer')
        return answer(data)

    def refuse_all(data, context):
        context.abort(refuse, 'refused by the peer')

    class Any(grpc.GenericRpcHandler):
        def service(self, details):
            single = details.method.endswith('/process_single_data')
            if gateway and details.method.endswith('/dry_run'):
                return grpc.unary_unary_rpc_method_handler(lambda data, context: b'')
            if gateway and details.method.endswith('/Call'):
                return grpc.stream_stream_rpc_method_handler(lambda many, context: map(answer, many))
            if not single and isinstance(refuse, grpc.StatusCode):
                return grpc.unary_unary_rpc_method_handler(refuse_all)
            return grpc.unary_unary_rpc_method_handler(handle) if single else None

    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, options=[('grpc.max_receive_message_length', max_size)])
        server.add_generic_rpc_handlers((Any(),))
        port = server.add_insecure_port(f'{HOST}:0')
        server.start()
        try:
            yield f'grpc://{HOST}:{port}', seen
        finally:
            server.stop(None).wait()


@contextlib.contextmanager
def http_peer(answer=embed_json, headers=()):
    """Answers every POST with the status, body and perhaps headers of `answer(bytes)`."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def do_POST(self):
            seen.append(self.headers.get('Authorization'))
            status, body, *more = answer(self.rfile.read(int(self.headers['Content-Length'])))
            self.send_response(status)
            self.send_header('Content-Length', str(len(body)))
            for name, value in (*headers, *itertools.chain(*more)):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.send_response(answer(b'{"data": []}')[0])
            self.send_header('Content-Length', '0')
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    server.daemon_threads = True
    with running(server):
        yield f'http://{HOST}:{server.server_port}', seen


@contextlib.contextmanager
def ws_peer(answer=embed, process_request=None, last=None, max_size=None):
    """Answers every message with `answer(bytes)`; closes the connection after the message number `last`."""
    seen = []

    def handle(connection):
        seen.append(connection.request.headers.get('Authorization'))
        for number, data in enumerate(connection, 1):
            connection.send(answer(data))
            if number == last:
                return

    with serving_websockets(handle, process_request=process_request, max_size=max_size) as url:
        yield url, seen


@contextlib.contextmanager
def serving_websockets(handle, **options):
    """Gives each WebSocket to `handle(connection)`.

    Before 14, a server of websockets reads no more once it closes, so it waits in vain for the client's word.
    """
    with serve(handle, HOST, 0, close_timeout=0.2, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f'ws://{HOST}:{server.socket.getsockname()[1]}'
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def running(server):
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))  # seconds until it heeds its end
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def listener():
    """A port that accepts connections and never says a word."""
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


@contextlib.contextmanager
def tls(url, certificate, key, client_ca=None):
    """A TLS end in front of a server: gives the secure URL. With a CA, clients need a certificate of it."""
    scheme, _, address = url.partition('://')
    target = (HOST, int(address.rpartition(':')[2]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    context.set_alpn_protocols(['h2'] if scheme == 'grpc' else ['http/1.1'])
    threads = []

    def copy(source, sink):
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(65536)
                if not data:
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def join(client):
        try:
            secure = context.wrap_socket(client, server_side=True)
        except OSError:  # the client refused the certificate
            client.close()
            return
        with secure, socket.create_connection(target) as plain:
            back = threading.Thread(target=copy, args=(plain, secure))
            back.start()
            copy(secure, plain)
            back.join()

    def accept():
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=join, args=(client,), daemon=True))
            threads[-1].start()

    with socket.create_server((HOST, 0)) as server:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield f'{scheme}s://localhost:{server.getsockname()[1]}'
        server.shutdown(socket.SHUT_RDWR)
        accepting.join()
        for thread in threads:
            thread.join(5)
