"""Engines that behave badly, or only know who they are, for the tests of the service: installed as a plugin."""

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

from inference_client import InputError, hookimpl
from inference_client.engines.base import Engine, read_image


class Named(Engine):
    """Embeds a text as its length and this process's id, and does what a text says.

    The parameter `begun` names a file that tells that it runs.
    """

    tasks = frozenset({'encode'})

    def run(self, task, documents, parameters):
        if 'begun' in parameters:
            (Path(os.environ['TEST_FOLDER']) / parameters['begun']).touch()
        time.sleep(float(parameters.get('sleep', 0)))
        for document in documents:
            if document.text == 'die':
                os._exit(7)
            if document.text == 'raise':
                raise RuntimeError('/secret/path is broken')
            if document.text == 'nothing':
                return None
            if document.text == 'generator':
                return (document for document in documents)
            if document.text == 'exit':
                threading.Thread(target=time.sleep, args=(3600,)).start()  # the ordinary way out waits for it
                sys.exit('enough')
            if document.text == 'refuse':
                raise InputError('this text is refused')
            document.embedding = np.array([len(document.text), os.getpid()], np.float32)
            document.tags['size'] = len(documents)
        return documents


class Other(Named):
    """Embeds a text as its length."""

    def run(self, task, documents, parameters):
        for document in documents:
            document.embedding = np.array([-len(document.text)], np.float32)
        return documents


class Pictures(Engine):
    """Embeds an image as its shape."""

    tasks = frozenset({'encode'})

    def run(self, task, documents, parameters):
        for document in documents:
            document.embedding = np.array(read_image(document).shape, np.float32)
        return documents


class Slow(Named):
    """Is loaded once a file is there."""

    def __init__(self):
        while not (Path(os.environ['TEST_FOLDER']) / 'go on').exists():
            time.sleep(0.02)


class Broken(Named):
    """Cannot be loaded."""

    def __init__(self):
        raise RuntimeError('no weights in /secret/path')


@hookimpl
def inference_client_engines():
    """What is installed."""
    return {'named': Named, 'pictures': Pictures, 'org/other 1.0::x': Other, 'slow': Slow, 'broken': Broken}
