"""A process of a model is started again, however it ended and whatever kept it from starting."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from isolated import PACKAGE, write_distribution
from services import TIMEOUT

from inference_client._wire.jina_pb2 import DataRequestProto
from inference_client.server import hosted, replica
from inference_client.server.link import StuckError
from inference_client.server.refusals import UnavailableError
from inference_client.server.replica import Replica
from inference_client.server.settings import Limits, ModelSettings

ARGUMENTS = {'name': 'tiny', 'engine': 'named', 'pixels': 1000, 'max_batch': 1, 'batch_wait_ms': 0, 'max_seconds': 60}
ONCE_UP = """
if [ -e "$0.ran" ]; then echo '{"error": "no room"}'; else touch "$0.ran"; echo '{}'; fi
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(replica, 'FIRST_PAUSE', 0.01)


def program(folder, lines):
    """A program to run in the place of the interpreter."""
    path = folder / 'program'
    path.write_text(f'#!/bin/sh\n{lines}\n', encoding='utf-8')
    path.chmod(0o700)
    return str(path)


def watched(*steps):
    """Run a replica: each step is called until it gives something true, which is given back."""

    async def run():
        one, given = Replica(ARGUMENTS, lambda: None), []
        one.start()
        try:
            for step in steps:
                while not (found := step(one)):
                    await asyncio.sleep(0.01)
                given.append(await found if asyncio.iscoroutine(found) else found)
        finally:
            await one.stop()
        return given

    return asyncio.run(asyncio.wait_for(run(), TIMEOUT))


@pytest.fixture
def engines(tmp_path, monkeypatch):
    """The engines of `service_engines.py` are installed for processes."""
    source = (Path(__file__).parent / 'service_engines.py').read_text(encoding='utf-8')
    write_distribution(tmp_path, 'service-engines', {'test': 'service_engines'}, service_engines=source)
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(tmp_path), str(PACKAGE.parent)]))


def message(text, **parameters):
    request = DataRequestProto(header={'exec_endpoint': '/encode'})
    request.data.docs.docs.add(text=text)
    request.parameters.update(parameters)
    return request.SerializeToString()


def with_model(talk, **settings):
    async def run():
        model = hosted.HostedModel(ModelSettings('tiny', 'named', **settings), ['encode'], Limits())
        model.start()
        try:
            await model.settled.wait()
            return await talk(model)
        finally:
            await model.stop()

    return asyncio.run(asyncio.wait_for(run(), TIMEOUT))


def test_what_a_model_has_to_do_is_bounded(monkeypatch, engines):
    """Requests that nobody waits for any more are its, too, until it has put them away; one alone may be larger."""
    monkeypatch.setattr(hosted, 'MOST_WAITING', 1000)

    async def talk(model):
        slow = asyncio.ensure_future(model.ask(message('x' * 800, sleep=0.5)))
        given_up = asyncio.ensure_future(model.ask(message('x' * 100)))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError, match="'tiny' has too much to do") as caught:
            await model.ask(message('x' * 100))
        assert caught.value.retry_after
        assert not (await slow).failed
        while model.replicas[0].held:
            await asyncio.sleep(0.01)
        assert not (await model.ask(message('x' * 2000))).failed

    with_model(talk)


def test_a_process_that_hangs_is_replaced_and_costs_one_request(engines, caplog):
    async def talk(model):
        asked = [asyncio.ensure_future(model.ask(message(text, sleep=60.0))) for text in ('a', 'b')]
        with pytest.raises(StuckError):
            await asked[0]
        with pytest.raises(UnavailableError, match='ended while it worked') as caught:
            await asked[1]
        assert caught.value.retry_after
        while model.status != 'Serving':
            await asyncio.sleep(0.01)
        assert not (await model.ask(message('a'))).failed

    with_model(talk, max_seconds=2, max_batch=1)
    assert 'a process of the model tiny gave no answer for 2 s; another one is started' in warnings(caplog)[0]


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.name == replica.logger.name]


def pauses(caplog):
    return [float(text.rpartition(' in ')[2].partition(' ')[0]) for text in warnings(caplog)]


def test_what_may_pass_is_tried_again(monkeypatch, tmp_path, engines, caplog):
    """As with too many open files, there is no process at all; then there is one."""

    def found(one):
        return monkeypatch.setattr(sys, 'executable', interpreter) or True

    interpreter = sys.executable
    monkeypatch.setattr(sys, 'executable', str(tmp_path / 'nothing'))
    *_, up, answer = watched(
        lambda one: len(warnings(caplog)) > 1,
        found,
        lambda one: one.up and not one.failed,
        lambda one: one.ask(message('hello')),
    )
    assert up
    assert not answer.failed
    assert 'a process of the model tiny could not be started (FileNotFoundError' in warnings(caplog)[0]


def test_a_program_that_says_something_else_is_tried_again(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(sys, 'executable', program(tmp_path, 'echo hello'))
    watched(lambda one: len(warnings(caplog)) > 1)
    assert 'could not be started (JSONDecodeError' in warnings(caplog)[0]


def test_a_process_that_does_not_end_with_its_input_is_killed(monkeypatch, tmp_path):
    monkeypatch.setattr(replica, 'STOP_TIMEOUT', 0.1)
    monkeypatch.setattr(sys, 'executable', program(tmp_path, "echo '{}'\nexec sleep 3600"))
    (process,) = watched(lambda one: one.up and one._process)
    assert process.returncode == -signal.SIGKILL


def test_the_log_says_why_it_is_not_started_again(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(sys, 'executable', program(tmp_path, ONCE_UP))
    watched(lambda one: len(warnings(caplog)) > 2)
    assert 'a process of the model tiny ended; another one is started' in warnings(caplog)[0]
    assert 'a process of the model tiny could not be started again (no room)' in warnings(caplog)[1]


@pytest.mark.parametrize(('steady', 'growth'), [(60, 2), (0, 1)])
def test_the_pause_grows_until_one_stays_up(monkeypatch, tmp_path, caplog, steady, growth):
    monkeypatch.setattr(replica, 'STEADY', steady)
    monkeypatch.setattr(sys, 'executable', program(tmp_path, "echo '{}'"))
    watched(lambda one: len(warnings(caplog)) > 3)
    assert pauses(caplog)[:4] == [0.01 * growth**times for times in range(4)]
