"""The process of one replica: a model that answers on its standard input and output.

It says there first, as one line of JSON, that it is ready or why it is not. It ends with its standard input, so that
nothing is left when the service is killed, and only so: systemd sends SIGTERM to all processes of a service, which has
requests to answer yet.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from dataclasses import replace
from typing import Any, BinaryIO, Mapping


def main(arguments: Mapping[str, Any]) -> None:
    """Load a model and answer until the end of standard input.

    Args:
        arguments: `name`, for the log; `engine`, what is loaded; `pixels`, the most that an image may have; `max_batch`
            and `batch_wait_ms`, of `ModelSettings`.
    """
    _ignore_sigterm()
    if hasattr(os, 'setpgid'):
        os.setpgid(0, 0)  # Ctrl-C is for the service, which then ends its replicas in order
    came, answers = _private_pipes()
    waiting: Any = queue.SimpleQueue()
    threading.Thread(target=_read, args=(came, waiting), daemon=True).start()
    try:
        engine = _loaded(arguments['engine'], arguments['pixels'])
    except Exception as error:  # noqa: BLE001 - whatever it is, the service tells it
        _say(answers, {'error': str(error)})
        return
    _say(answers, {})
    _work(engine, arguments, waiting, answers)


def _ignore_sigterm() -> None:
    """Here, but not in processes that the engine starts: those inherit no handler, unless they are forks."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    if hasattr(os, 'register_at_fork'):
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The pipes to the service; whatever else reads finds nothing, and what prints reaches standard error."""
    from .link import READ_AHEAD

    came, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return os.fdopen(came, 'rb', READ_AHEAD), os.fdopen(answers, 'wb', READ_AHEAD)


def _say(answers: BinaryIO, value: Any) -> None:
    answers.write(json.dumps(value).encode() + b'\n')
    answers.flush()


def _read(came: BinaryIO, waiting: Any) -> None:
    from .link import requests

    for number, data in requests(came):
        waiting.put((number, data, time.monotonic()))
    os._exit(0)  # the service is gone, and nobody reads an answer


def _loaded(engine: str, pixels: int) -> Any:
    from .. import _images
    from ..engines.loader import load_engine
    from . import work  # noqa: F401 - slow to import, which is not for the first request

    _images.MAX_PIXELS = pixels
    return load_engine(engine)


def _work(engine: Any, arguments: Mapping[str, Any], came: Any, answers: BinaryIO) -> None:
    from .batches import Waiting
    from .link import send
    from .work import answers as answers_of

    waiting = Waiting(arguments['max_batch'], arguments['batch_wait_ms'] / 1000)
    while True:
        _note_all(came, waiting, answers)
        jobs = waiting.take()
        count = sum(job.count for job in jobs)
        for job, answer in zip(jobs, answers_of(engine, arguments['name'], [job.message for job in jobs])):
            send(answers, job.number, replace(answer, batch=count))
            count = 0


def _note_all(came: Any, waiting: Any, answers: BinaryIO) -> None:
    """Note what has come, and go on until something should run."""
    from .link import Answer, send

    def note(number: int, data: bytes, when: float) -> None:
        if data:
            waiting.note(number, data, when)
        elif waiting.take_back(number):
            send(answers, number, Answer(b'', failed=False))

    while not waiting:
        note(*came.get())
    with contextlib.suppress(queue.Empty):
        while True:
            while not came.empty():
                note(*came.get())
            patience = waiting.patience(time.monotonic()) if waiting else None
            if patience == 0:
                return
            note(*came.get(timeout=patience))


if __name__ == '__main__':
    try:
        main(json.loads(sys.argv[1]))
    except BaseException:  # noqa: BLE001 - an engine may raise SystemExit, too
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1)  # not by the ordinary way out, on which libraries may wait for threads of theirs
