"""A Flow of `clip_server`, with its ONNX engine on a tiny model; started by the tests with the folder of that model.

Prints the URLs as one line of JSON when it is ready, and ends when its standard input does. Must not import
inference_client.
"""

import json
import os
import sys

os.environ.update(JINA_LOG_LEVEL='ERROR', JINA_HIDE_SURVEY='1', JINA_OPTOUT_TELEMETRY='1')

from clip_server.executors.clip_onnx import CLIPEncoder
from jina import Flow
from jina.helper import random_ports

HOST = '127.0.0.1'
SCHEMES = ('grpc', 'http', 'ws')

if __name__ == '__main__':
    ports = random_ports(3)
    flow = Flow(protocol=['grpc', 'http', 'websocket'], port=ports, host=HOST)
    model = {'name': 'ViT-B-32::openai', 'model_path': sys.argv[1], 'device': 'cpu'}
    with flow.add(uses=CLIPEncoder, uses_with=model, host=HOST):
        urls = {scheme: f'{scheme}://{HOST}:{port}' for scheme, port in zip(SCHEMES, ports)}
        print('\n' + json.dumps(urls), flush=True)
        sys.stdin.read()
