"""The clients that are compared, each behind the same few methods, and the floor: the wire and nothing else.

`single` sends one short text; `bulk` sends many texts, documents in and out; `images` sends encoded images. What
they return is checked once before anything is measured.
"""

from __future__ import annotations

import inspect
import json
import queue
import threading
import uuid
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Iterable, Iterator

import numpy as np

from inference_client._wire.jina_pb2 import DataRequestProto

WIRES = ('grpc', 'http', 'ws')
WINDOW = 16  # requests under way, for those that can say


class Ours:
    """This client."""

    name = 'inference_client'
    wires = WIRES

    def __init__(self, url: str) -> None:
        from inference_client import Client

        self._client = Client(trust_env=False)
        self._model = self._client.get_model(url)

    def single(self) -> Any:
        return self._model.encode(text='hello world')[0].embedding

    def bulk(self, texts: list[str], batch: int) -> Any:
        return self._model.encode(text=texts, batch_size=batch, prefetch=WINDOW)

    def images(self, images: list[bytes], batch: int) -> Any:
        return self._model.encode(image=images, batch_size=batch, prefetch=WINDOW)

    def slow(self) -> Any:
        return self._model.run(_slow_task(), text='hello world')

    def stream(self, texts: Iterable[str]) -> int:
        return sum(1 for _ in self._model.stream('encode', texts, prefetch=WINDOW))

    def close(self) -> None:
        self._client.close()


class Jina:
    """`jina.Client` 3.33, which opens a connection for each call."""

    name = 'jina.Client'
    wires = WIRES

    def __init__(self, url: str) -> None:
        from jina import Client

        self._client = Client(host=url)

    def single(self) -> Any:
        from docarray import Document, DocumentArray

        return self._client.post('/encode', DocumentArray([Document(text='hello world')]))[0].embedding

    def bulk(self, texts: list[str], batch: int) -> Any:
        from docarray import Document, DocumentArray

        return self._client.post('/encode', DocumentArray([Document(text=t) for t in texts]), request_size=batch)

    def images(self, images: list[bytes], batch: int) -> Any:
        from docarray import Document, DocumentArray

        return self._client.post('/encode', DocumentArray([Document(blob=i) for i in images]), request_size=batch)

    def slow(self) -> Any:
        from docarray import Document, DocumentArray

        return self._client.post('/slow', DocumentArray([Document(text='hello world')]))

    def stream(self, texts: Iterable[str]) -> int:
        from docarray import Document

        documents = (Document(text=text) for text in texts)
        counted = []
        self._client.post(
            '/encode', documents, request_size=32, return_responses=True, on_done=lambda r: counted.append(len(r.docs))
        )
        return sum(counted)

    def close(self) -> None:
        pass


class Clip:
    """`clip_client` 0.8.3; over HTTP it fails against a stock Flow."""

    name = 'clip_client'
    wires = ('grpc', 'ws')

    def __init__(self, url: str) -> None:
        from clip_client import Client

        self._client = Client(url)

    def single(self) -> Any:
        return self._client.encode(['hello world'])[0]

    def bulk(self, texts: list[str], batch: int) -> Any:
        from docarray import Document, DocumentArray

        return self._client.encode(DocumentArray([Document(text=t) for t in texts]), batch_size=batch)

    def close(self) -> None:
        pass


class Floor:
    """The same wire on a connection that is kept, from texts to a float32 matrix: no documents, no checks.

    gRPC: one long stream; WebSocket: one socket; HTTP: four sessions of requests, with orjson.
    """

    name = 'floor'
    wires = WIRES

    def __init__(self, url: str) -> None:
        scheme, _, address = url.partition('://')
        self._wire = {'grpc': _GrpcFloor, 'ws': _WebSocketFloor, 'http': _HttpFloor}[scheme](url, address)

    def single(self) -> Any:
        return self._wire.ask([['hello world']])[0]

    def bulk(self, texts: list[str], batch: int) -> Any:
        return self._wire.ask([texts[i : i + batch] for i in range(0, len(texts), batch)])

    def close(self) -> None:
        self._wire.close()


def _message(texts: list[str]) -> tuple[str, bytes]:
    message = DataRequestProto()
    message.header.request_id = uuid.uuid4().hex
    message.header.exec_endpoint = '/encode'
    for text in texts:
        message.data.docs.docs.add().text = text
    return message.header.request_id, message.SerializeToString()


def _rows(data: bytes) -> tuple[str, np.ndarray]:
    message = DataRequestProto.FromString(data)
    rows = [np.frombuffer(doc.embedding.dense.buffer, '<f4') for doc in message.data.docs.docs]
    return message.header.request_id, np.stack(rows)


class _Exchanging:
    """Sends all batches over something that takes and gives bytes, `WINDOW` of them at once."""

    def ask(self, batches: list[list[str]]) -> np.ndarray:
        waiting, order, answers = deque(batches), [], {}
        out = 0
        while waiting or out:
            while waiting and out < WINDOW:
                request_id, data = _message(waiting.popleft())
                order.append(request_id)
                self._send(data)
                out += 1
            request_id, rows = _rows(self._receive())
            answers[request_id] = rows
            out -= 1
        return np.concatenate([answers[request_id] for request_id in order])


class _GrpcFloor(_Exchanging):
    def __init__(self, url: str, address: str) -> None:
        import grpc

        limits = [('grpc.max_send_message_length', -1), ('grpc.max_receive_message_length', -1)]
        self._channel = grpc.insecure_channel(address, limits)
        self._outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._call = self._channel.stream_stream('/jina.JinaRPC/Call')(iter(self._outgoing.get, None))
        self._send, self._receive = self._outgoing.put, lambda: next(self._call)

    def close(self) -> None:
        self._outgoing.put(None)
        self._channel.close()


class _WebSocketFloor(_Exchanging):
    def __init__(self, url: str, address: str) -> None:
        from websockets.sync.client import connect

        proxy = {'proxy': None} if 'proxy' in inspect.signature(connect).parameters else {}  # from websockets 15 on
        context = connect(url, subprotocols=['bytes'], max_size=None, compression=None, **proxy)
        self._socket = context.__enter__()
        self._send, self._receive = self._socket.send, self._socket.recv

    def close(self) -> None:
        self._socket.close()


class _HttpFloor:
    def __init__(self, url: str, address: str) -> None:
        self._url = f'{url}/post'
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(4)

    def ask(self, batches: list[list[str]]) -> np.ndarray:
        if len(batches) == 1:
            return self._post(batches[0])
        return np.concatenate(list(self._pool.map(self._post, batches)))

    def close(self) -> None:
        self._pool.shutdown()

    def _post(self, texts: list[str]) -> np.ndarray:
        import orjson

        if not hasattr(self._local, 'session'):
            self._local.session = self._session()
        body = orjson.dumps({'data': [{'text': text} for text in texts], 'exec_endpoint': '/encode'})
        answer = self._local.session.post(self._url, body, headers={'Content-Type': 'application/json'})
        return np.array([doc['embedding'] for doc in orjson.loads(answer.content)['data']], np.float32)

    @staticmethod
    def _session() -> Any:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3 import Retry

        session = requests.Session()
        session.trust_env = False
        again = Retry(1, allowed_methods=None)  # the server drops a connection that was idle for 5 s
        session.mount('http://', HTTPAdapter(max_retries=again))
        return session


def _slow_task() -> Any:
    from inference_client.tasks.encode import EncodeTask

    class SlowTask(EncodeTask):
        name = 'slow'

    return SlowTask


ALL = (Ours, Jina, Clip, Floor)


def contenders(urls: dict[str, str], wire: str, method: str) -> Iterator[Any]:
    """One of each that has the method on this wire, connected and warm."""
    for kind in ALL:
        if wire in kind.wires and hasattr(kind, method):
            yield kind(urls[wire])


def read_urls(process: Any) -> dict[str, str]:
    """What a server process says when it is ready."""
    for line in process.stdout:
        if line.startswith('{'):
            return dict(json.loads(line))
    raise RuntimeError('the server did not start')
