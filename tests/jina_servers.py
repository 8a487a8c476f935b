"""Plain Jina servers for the tests: a Flow, or a Deployment, around an Executor that is not ours.

Usage: jina_servers.py flow|grpc|http [PORT...]. Prints the URLs as one line of JSON when it is ready,
and ends when its standard input does. The Executor is loading until the file GATE is there, if the environment
names one. Must not import inference_client.
"""

import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

os.environ.update(JINA_LOG_LEVEL='ERROR', JINA_HIDE_SURVEY='1', JINA_OPTOUT_TELEMETRY='1')

import numpy as np
from jina import Deployment, Document, DocumentArray, Executor, Flow, requests
from ports import HOST, free_ports


class Dummy(Executor):
    """Embeds a text as its length and its first letters; misbehaves where a text or parameter says so.

    What it generates is what it was sent, where the servers of the original inference-client put their answers.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        while 'GATE' in os.environ and not Path(os.environ['GATE']).exists():
            time.sleep(0.02)

    @requests(on='/encode')
    def encode(self, docs: DocumentArray, parameters: dict, **kwargs):
        time.sleep(float(parameters.get('sleep', 0)))
        if 'log' in parameters:
            with Path(parameters['log']).open('a') as log:
                log.write(''.join(f'{doc.text}\n' for doc in docs))
        for doc in docs:
            if doc.text == 'no answer':
                continue
            if doc.text == 'raise':
                raise ValueError('the executor does not like this')
            if doc.text.startswith('sleep '):
                time.sleep(float(doc.text[len('sleep ') :]))
            letters = [float(ord(letter)) for letter in doc.text[:3].ljust(3)]
            size = len(doc.text) or len(doc.blob) or np.asarray(doc.tensor).size
            doc.embedding = np.array([size, *letters], dtype=np.float32)
            doc.tags['seen'] = dict(parameters)
            doc.tags['uri'] = doc.uri

    @requests(on='/echo')
    def echo(self, docs: DocumentArray, **kwargs):
        return docs

    @requests(on='/rank')
    def rank(self, docs: DocumentArray, **kwargs):
        for doc in docs:
            for match in doc.matches:
                match.scores['clip_score'].value = len(match.text) / 100
                match.scores['clip_score_cosine'].value = len(match.text) / 200

    @requests(on='/generate')
    def generate(self, docs: DocumentArray, parameters: dict, **kwargs):
        for doc in docs:
            seen = {'tags': dict(doc.tags), 'parameters': dict(parameters)}
            doc.tags['generated_text'] = json.dumps(seen, sort_keys=True)

    @requests(on='/text-to-image')
    def text_to_image(self, docs: DocumentArray, parameters: dict, **kwargs):
        for doc in docs:
            doc.matches = [Document(blob=f'{doc.tags["prompt"]} {size}'.encode()) for size in parameters['sizes']]

    @requests(on='/image-to-image')
    def image_to_image(self, docs: DocumentArray, **kwargs):
        for doc in docs:
            doc.matches = [Document(blob=doc.blob, tags={'seen': dict(doc.tags)})]
            doc.pop('blob')

    @requests(on='/drop')
    def drop(self, docs: DocumentArray, **kwargs):
        return docs[1:]


def build(kind, ports):
    if kind == 'flow':
        ports = ports or free_ports(3)
        flow = Flow(protocol=['grpc', 'http', 'websocket'], port=ports, host=HOST, quiet_error=True)
        urls = {scheme: f'{scheme}://{HOST}:{port}' for scheme, port in zip(('grpc', 'http', 'ws'), ports)}
        return flow.add(uses=Dummy, host=HOST, quiet_error=True), urls
    (port,) = ports or free_ports(1)
    deployment = Deployment(uses=Dummy, protocol=kind, port=port, host=HOST, quiet_error=True)
    return deployment, {kind: f'{kind}://{HOST}:{port}'}


if __name__ == '__main__':
    server, urls = build(sys.argv[1], [int(port) for port in sys.argv[2:]])
    server.start()
    print('\n' + json.dumps(urls), flush=True)
    sys.stdin.read()
    for child in multiprocessing.active_children():  # an HTTP Deployment hangs when it is closed in order
        child.kill()
    os._exit(0)
