"""The server that all contenders talk to: a stock Jina Flow with an Executor that does next to nothing.

Prints the URLs as one line of JSON when it is ready, and ends when its standard input does.
"""

import asyncio
import json
import os
import sys

os.environ.update(JINA_LOG_LEVEL='ERROR', JINA_HIDE_SURVEY='1', JINA_OPTOUT_TELEMETRY='1')

import numpy as np
from jina import DocumentArray, Executor, Flow, requests
from jina.helper import random_ports

HOST = '127.0.0.1'
EMBEDDING = np.linspace(0, 1, 512, dtype=np.float32)


class Trivial(Executor):
    """Gives every document the same embedding; `/slow` takes a second, any number at once."""

    @requests(on='/encode')
    def encode(self, docs: DocumentArray, **kwargs):
        for doc in docs:
            doc.embedding = EMBEDDING
            doc.blob = None  # what came need not go back

    @requests(on='/slow')
    async def slow(self, docs: DocumentArray, **kwargs):
        await asyncio.sleep(1)
        for doc in docs:
            doc.embedding = EMBEDDING


if __name__ == '__main__':
    wires = ('grpc', 'http', 'websocket')
    ports = random_ports(3)
    flow = Flow(protocol=list(wires), port=ports, host=HOST, quiet_error=True).add(uses=Trivial, host=HOST)
    with flow:
        urls = {scheme: f'{scheme}://{HOST}:{port}' for scheme, port in zip(('grpc', 'http', 'ws'), ports)}
        print('\n' + json.dumps(urls), flush=True)
        sys.stdin.read()
