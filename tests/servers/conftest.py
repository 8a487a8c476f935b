"""Real servers of others, each started once a run: tox env `servers`, for they bring a gigabyte of packages."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from ports import HOST, free_ports

from inference_client.testing.transports import TOKEN

HERE = Path(__file__).resolve().parent
SECONDS = 180  # within which a server is up: the first import of torch takes long
OFFLINE = {
    'DO_NOT_TRACK': '1',
    'INFINITY_ANONYMOUS_USAGE_STATS': '0',
    'HF_HUB_OFFLINE': '1',
    'PYTHONPATH': str(HERE),
    'PYTHONWARNINGS': 'ignore',
}


@contextlib.contextmanager
def running(folder, command, ready):
    """Run a server while the context is open, from when a URL answers 200."""
    log = folder / 'log'
    with log.open('wb') as output:
        environment = {**os.environ, **OFFLINE}
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=folder)
        try:
            deadline = time.monotonic() + SECONDS
            while not answers(ready):
                assert process.poll() is None, log.read_text(errors='replace')
                assert time.monotonic() < deadline, log.read_text(errors='replace')
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def answers(url):
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def infinity_on(folder, port, *options):
    command = [str(Path(sys.executable).with_name('infinity_emb')), 'v2', '--host', HOST, '--port', str(port)]
    command += ['--no-model-warmup', '--no-bettertransformer', *options]
    return running(folder, command, f'http://{HOST}:{port}/health')


@pytest.fixture(scope='session')
def infinity(tmp_path_factory):
    """URL of an Infinity whose one model, of its debug engine, needs a key and is behind a prefix."""
    (port,) = free_ports(1)
    options = ['--engine', 'debugengine', '--model-id', 'debug', '--api-key', TOKEN, '--url-prefix', '/v1']
    with infinity_on(tmp_path_factory.mktemp('infinity'), port, *options):
        yield f'infinity+http://{HOST}:{port}/v1'


@pytest.fixture(scope='session')
def clip_folder(tmp_path_factory):
    from tiny_models import make_clip

    folder = tmp_path_factory.mktemp('models') / 'clip'
    make_clip(folder)
    return folder


@pytest.fixture(scope='session')
def infinity_torch(tmp_path_factory, clip_folder):
    """URL of an Infinity with a CLIP and a reranker of its torch engine, and a model of its debug engine."""
    from tiny_models import make_reranker

    folder = tmp_path_factory.mktemp('infinity-torch')
    make_reranker(folder / 'reranker')
    (port,) = free_ports(1)
    options = ['--device', 'cpu', '--dtype', 'float32']
    for engine in ('torch', 'torch', 'debugengine'):
        options += ['--engine', engine]
    options += ['--model-id', str(clip_folder), '--served-model-name', 'clip']
    options += ['--model-id', str(folder / 'reranker'), '--served-model-name', 'reranker']
    options += ['--model-id', 'debug', '--served-model-name', 'debug']
    with infinity_on(folder, port, *options):
        yield f'infinity+http://{HOST}:{port}'


TEXT = {'name': 'text', 'datatype': 'BYTES', 'shape': [-1]}
IMAGE = {'name': 'image', 'datatype': 'BYTES', 'shape': [-1]}
EMBEDDING = {'name': 'embedding', 'datatype': 'FP32', 'shape': [-1, 8]}
MODELS = {
    'clip': ([TEXT, IMAGE], EMBEDDING),
    'pixels': ([{'name': 'image', 'datatype': 'UINT8', 'shape': [-1, 9, 7, 3]}], EMBEDDING),
    'reranker': ([{**TEXT, 'name': 'query'}, TEXT], {'name': 'score', 'datatype': 'FP32', 'shape': [-1, 1]}),
    'blip2': ([IMAGE, {**TEXT, 'name': 'prompt'}], {'name': 'response', 'datatype': 'BYTES', 'shape': [-1]}),
}


@pytest.fixture(scope='session')
def mlserver(tmp_path_factory):
    """URL of an MLServer with the models above; `/MODEL` is missing."""
    folder = tmp_path_factory.mktemp('mlserver')
    http, grpc, metrics = free_ports(3)
    ports = {'http_port': http, 'grpc_port': grpc, 'metrics_port': metrics}
    (folder / 'settings.json').write_text(json.dumps({'host': HOST, 'parallel_workers': 0, **ports}))
    for name, (inputs, output) in MODELS.items():
        (folder / name).mkdir()
        settings = {'name': name, 'implementation': 'runtime.Runtime', 'inputs': inputs, 'outputs': [output]}
        (folder / name / 'model-settings.json').write_text(json.dumps(settings))
    command = [str(Path(sys.executable).with_name('mlserver')), 'start', str(folder)]
    with running(folder, command, f'http://{HOST}:{http}/v2/health/ready'):
        yield f'kserve+http://{HOST}:{http}'
