"""Where a round trip's time goes: against real servers, and from arbitrary times."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from inference_client import ConnectionFailedError, InputError, Profile, Response, UnsupportedTaskError
from inference_client._messages import Route
from inference_client._profile import Probe, _round
from inference_client._wire.json import decode_response
from inference_client.tasks.base import Call
from inference_client.tasks.encode import EncodeTask
from inference_client.testing import FakeTransport, Fault, client_for

WIRES = ['grpc', 'http', 'ws']
EARLY = 1_700_000_000_000_000_000  # nanoseconds of the epoch
TOKEN = 'secret-token'


def check(part):
    """Parts add up to their whole, and none is negative."""
    assert part.seconds >= 0
    if part.parts:
        assert sum(one.seconds for one in part.parts) == pytest.approx(part.seconds, abs=1e-9)
    for one in part.parts:
        check(one)


def names(part):
    return [one.name for one in part.parts]


def run(*arguments, **environment):
    pytest.importorskip('click')
    return subprocess.run(
        [sys.executable, '-m', 'inference_client', 'profile', *arguments],
        env={**os.environ, 'PYTHONIOENCODING': 'utf-8', **environment},
        capture_output=True,
        encoding='utf-8',
        timeout=60,
    )


# -- against servers


@pytest.mark.parametrize('wire', WIRES)
@pytest.mark.parametrize(('which', 'model'), [('plain_flow', 'executor0'), ('server', 'embedded')])
def test_parts_of_a_round_trip(request, connect, which, model, wire):
    url = request.getfixturevalue(which)[wire]
    found = connect(url).profile(rounds=3)
    assert (found.url, found.task, len(found.rounds), found.note) == (url, 'encode', 3, '')
    assert found.connect >= 0
    for one in found.rounds:
        check(one)
        assert one.name == 'round trip'
        assert names(one) == ['send', 'server', 'receive']
        assert names(one.parts[1]) == ['gateway', model]
    assert found.fastest.seconds <= found.median.seconds <= max(one.seconds for one in found.rounds)


def test_the_time_of_the_model_is_told_apart(plain_flow, connect):
    found = connect(plain_flow['grpc']).profile('encode', ['a'], rounds=1, sleep=0.3)
    server = found.median.parts[1]
    assert server.parts[1].seconds >= 0.3 > server.parts[0].seconds


def test_what_only_the_first_round_trip_takes():
    found = client_for(FakeTransport(faults=[Fault(delay=0.5)])).get_model('m').profile(rounds=3)
    assert found.connect > 0.25
    assert found.median.seconds < 0.25


def test_a_server_that_tells_no_times(deployments, connect):
    found = connect(deployments['http']).profile(rounds=2)
    assert found.median.parts == ()
    assert 'tells no times' in found.note
    assert str(found).endswith(found.note)


def test_a_deployment_over_grpc_tells_its_times(deployments, connect):
    found = connect(deployments['grpc']).profile(rounds=1)
    check(found.median)
    assert names(found.median) == ['send', 'server', 'receive']


def test_in_this_process(connect):
    pytest.importorskip('onnxruntime')
    found = connect('local://embedded').profile(rounds=2)
    assert (found.median.name, found.median.parts, found.note) == ('run', (), '')
    assert 'load the model, once' in str(found)


def test_a_model_that_lacks_the_task(plain_flow, connect, photo):
    with pytest.raises(UnsupportedTaskError, match='no model for this task'):
        connect(plain_flow['grpc']).profile('caption', [photo])


def test_a_server_that_is_down(connect):
    with pytest.raises(ConnectionFailedError) as caught:
        connect('http://127.0.0.1:1').profile()
    assert (caught.value.task, caught.value.url) == ('encode', 'http://127.0.0.1:1')


@pytest.mark.parametrize('rounds', [0, -1, 1.5, True, 'many'])
def test_rounds_that_are_of_no_use(connect, rounds):
    with pytest.raises(InputError, match='expected a whole number'):
        connect('http://127.0.0.1:1').profile(rounds=rounds)


@pytest.mark.parametrize(('task', 'inputs'), [('encode', []), ('caption', None)])
def test_nothing_to_send(connect, task, inputs):
    with pytest.raises(InputError, match=f'nothing to {task}'):
        connect('http://127.0.0.1:1').profile(task, inputs)


def test_each_round_sends_the_inputs_as_they_were():
    fake = FakeTransport()
    inputs = ['a', 'b']
    client_for(fake).get_model('m').profile('encode', inputs, rounds=2, size=3)
    assert [[one.text for one in request.documents] for request in fake.requests] == [inputs] * 3
    assert [dict(request.parameters) for request in fake.requests] == [{'size': 3}] * 3
    assert len({request.id for request in fake.requests}) == 3


# -- from arbitrary times


TIMES = st.integers(-(10**12), 10**12)
ROUTES = st.lists(st.builds(lambda start, end: Route('r', EARLY + start, EARLY + end), TIMES, TIMES), max_size=5)


@given(TIMES, st.integers(0, 10**12), ROUTES)
def test_parts_add_up_whatever_the_server_tells(began, took, routes):
    part = _round(EARLY + began, took, routes, 'round trip')
    assert part.seconds == pytest.approx(took / 1e9, abs=1e-6)
    for one in [part, *part.parts]:
        assert one.seconds >= 0
        if one.parts and one.name != 'server':
            assert sum(inner.seconds for inner in one.parts) == pytest.approx(one.seconds, abs=1e-6)


def test_another_clock():
    """An hour off: sending and receiving cannot be told apart, but the rest can."""
    hour = 3600 * 10**9
    routes = [Route('gateway', EARLY + hour + 10**6, EARLY + hour + 4 * 10**6)]
    part = _round(EARLY, 6 * 10**6, routes, 'round trip')
    assert [(one.name, one.seconds) for one in part.parts] == [('network', 0.003), ('server', 0.003)]
    profile = Profile('grpc://h', 'encode', 0.0, (part,))
    assert 'another time' in profile.note


def test_models_one_after_the_other_and_at_the_same_time():
    def server(*models):
        routes = [Route('gateway', EARLY, EARLY + 10 * 10**6)]
        routes += [Route(name, EARLY + start * 10**6, EARLY + end * 10**6) for name, start, end in models]
        return _round(EARLY, 10 * 10**6, routes, 'round trip').parts[1]

    one_by_one = server(('b', 6, 9), ('a', 1, 5))
    assert [(one.name, round(one.seconds, 6)) for one in one_by_one.parts] == [
        ('gateway', 0.003),
        ('a', 0.004),
        ('b', 0.003),
    ]
    together = server(('a', 1, 5), ('b', 3, 9))
    assert [(one.name, round(one.seconds, 6)) for one in together.parts] == [
        ('gateway', 0.002),
        ('models at the same time', 0.008),
    ]
    assert names(together.parts[1]) == ['a', 'b']


def test_names_of_a_server_are_fit_to_be_shown():
    call = EncodeTask().prepare(text='a')
    probe = Probe('grpc://h', EncodeTask(), Call(list(call.documents)), 1, TOKEN)
    for request in probe:
        request.documents[0].embedding = [1.0]
        now = probe._began
        names_ = [f'gateway {TOKEN}', '\x1b[31m[red]' + 'x' * 100]
        probe.answered(
            Response(request.id, request.documents, lambda now=now, n=names_: [Route(one, now, now) for one in n])
        )
    shown = str(probe.profile())
    assert TOKEN not in shown
    assert '\x1b' not in shown
    assert 'x' * 60 not in shown


ANYTHING = st.recursive(
    st.none() | st.text() | st.integers() | st.just('2026-11-24T12:57:47.627011098Z'),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(['executor', 'startTime', 'endTime']), inner),
)


@given(ANYTHING)
def test_routes_that_cannot_be_read_cost_nothing(routes):
    body = json.dumps({'data': [{'text': 'a'}], 'routes': routes}).encode()
    response = decode_response(body, 'id')
    assert response.documents[0].text == 'a'
    assert all(isinstance(one, Route) for one in response.routes())


# -- on the command line


def test_the_command_prints_plain_lines(plain_flow):
    done = run(plain_flow['grpc'], '--rounds', '2')
    assert (done.returncode, done.stderr) == (0, '')
    title, *lines = done.stdout.splitlines()
    assert title.startswith(f'encode on {plain_flow["grpc"]}, median of 2 rounds, fastest ')
    told = ['connect, once', 'round trip', 'send', 'server', 'gateway', 'executor0', 'receive']
    assert [line.split('  ')[1 if index < 2 else 2] or line.split()[0] for index, line in enumerate(lines)] == told
    assert len({line.index(' ms') for line in lines}) == 1  # in one column


def test_the_command_draws_a_tree_on_a_terminal(plain_flow):
    done = run(plain_flow['ws'], FORCE_COLOR='1')
    assert (done.returncode, done.stderr) == (0, '')
    assert '└── round trip' in done.stdout
    assert '│   ├── gateway' in done.stdout


def test_the_command_in_json(plain_flow):
    done = run(plain_flow['http'], 'a', 'b', '--json', '--rounds', '1', '--parameter', 'sleep=0.1')
    assert (done.returncode, done.stderr) == (0, '')
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert told['median'] == told['fastest']
    assert told['median']['seconds'] >= 0.1
    assert [one['name'] for one in told['median']['parts']] == ['send', 'server', 'receive']


@pytest.mark.parametrize(
    'arguments',
    [
        ['rank', 'PHOTO', 'a cat', 'a dog'],
        ['vqa', 'Is it a cat?', 'PHOTO', 'PHOTO'],
        ['vqa', 'PHOTO', '--parameter', 'question=Is it a cat?'],
    ],
)
def test_the_command_takes_the_inputs_of_each_task(arguments, photo):
    pytest.importorskip('onnxruntime')
    task, *inputs = [photo if one == 'PHOTO' else one for one in arguments]
    done = run('local://embedded', *inputs, '--task', task, '--rounds', '1')
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.startswith(f'{task} on local://embedded')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['rank', 'a'], 'give REFERENCE and CANDIDATES'),
        (['vqa', 'a.png', 'b.png'], 'give QUESTION first, then IMAGES'),
        (['vqa', 'what?'], 'give QUESTION first, then IMAGES'),
        (['encode', 'a', '--parameter', 'rounds=3'], "'rounds' is no parameter of the model"),
    ],
)
def test_the_command_wants_the_inputs_of_each_task(arguments, message):
    task, *inputs = arguments
    done = run('http://127.0.0.1:1', *inputs, '--task', task)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_tree_by_rich(capsys):
    profile = client_for(FakeTransport()).get_model('m').profile(rounds=1)
    Console(width=120, file=sys.stdout).print(profile)
    told = capsys.readouterr().out
    assert told.splitlines()[1].startswith('├── connect, once')
    assert 'tells no times' in told
