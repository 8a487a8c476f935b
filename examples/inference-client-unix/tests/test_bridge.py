"""The bridge as a process, between a socket file and a TCP server."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

TIMEOUT = 60
HOST = '127.0.0.1'


@contextlib.contextmanager
def tcp_server(serve):
    """The port of a TCP server that runs `serve(connection)` in a thread for each connection."""
    listener = socket.create_server((HOST, 0))

    def accept():
        with contextlib.suppress(OSError):  # closed at the end
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=[connection], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def echo(connection):
    with connection:
        for data in iter(lambda: connection.recv(1 << 16), b''):
            connection.sendall(data)


@contextlib.contextmanager
def bridge(path, port, *options):
    """The process, once it is ready."""
    command = [sys.executable, '-m', 'inference_client', 'unix-bridge', str(path), f'grpc://{HOST}:{port}', *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        killer = threading.Timer(TIMEOUT, process.kill)
        killer.start()
        try:
            line = process.stdout.readline()
            assert line.endswith('is ready; Ctrl-C stops it\n'), process.stderr.read()
            yield process
        finally:
            killer.cancel()
            process.kill()


def refused(path, port=9, *options):
    """What a bridge that does not start says."""
    command = [sys.executable, '-m', 'inference_client', 'unix-bridge', str(path), f'grpc://{HOST}:{port}', *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode != 0
    return done.stderr


def connect(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT)
    connection.connect(str(path))
    return connection


def read_all(connection):
    return b''.join(iter(lambda: connection.recv(1 << 16), b''))


def exchange(path, data):
    """Send data, say that it is all, and read to the end."""
    with connect(path) as connection:
        sender = threading.Thread(target=lambda: (connection.sendall(data), connection.shutdown(socket.SHUT_WR)))
        sender.start()
        answer = read_all(connection)
        sender.join(TIMEOUT)
    return answer


def test_bytes_arrive_as_they_are(tmp_path):
    data = os.urandom(5_000_000)
    with tcp_server(echo) as port, bridge(tmp_path / 's', port):
        assert exchange(tmp_path / 's', data) == data


def test_connections_do_not_wait_for_each_other(tmp_path):
    with tcp_server(echo) as port, bridge(tmp_path / 's', port), contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(tmp_path / 's')) for _ in range(20)]
        for number, connection in reversed(list(enumerate(connections))):
            connection.sendall(b'%d' % number)
            assert connection.recv(10) == b'%d' % number


@pytest.mark.parametrize(('options', 'mode'), [([], 0o600), (['--mode', '660'], 0o660)])
def test_the_mode_of_the_file(tmp_path, options, mode):
    with bridge(tmp_path / 's', 9, *options):
        assert (tmp_path / 's').stat().st_mode & 0o777 == mode


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_the_file_goes_with_the_bridge_and_open_connections_end(tmp_path, number):
    with tcp_server(echo) as port, bridge(tmp_path / 's', port) as process, connect(tmp_path / 's') as connection:
        connection.sendall(b'1')
        assert connection.recv(1) == b'1'
        process.send_signal(number)
        assert connection.recv(1) == b''
        out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out, err) == (0, '', '')
    assert list(tmp_path.iterdir()) == []


def test_a_stale_file_is_replaced(tmp_path):
    with tcp_server(echo) as port:
        with bridge(tmp_path / 's', port) as process:
            process.kill()
            process.wait(TIMEOUT)
            assert (tmp_path / 's').is_socket()
        with bridge(tmp_path / 's', port):
            assert exchange(tmp_path / 's', b'hello') == b'hello'


def test_a_file_in_use_is_left_alone(tmp_path):
    with tcp_server(echo) as port, bridge(tmp_path / 's', port):
        assert 'somebody listens' in refused(tmp_path / 's', port)
        assert exchange(tmp_path / 's', b'hello') == b'hello'


def test_another_kind_of_file_is_left_alone(tmp_path):
    (tmp_path / 's').write_text('precious')
    assert 'is no socket file' in refused(tmp_path / 's')
    assert (tmp_path / 's').read_text() == 'precious'


def test_a_file_that_took_its_place_is_left_alone(tmp_path):
    with bridge(tmp_path / 's', 9) as process:
        (tmp_path / 's').unlink()
        (tmp_path / 's').write_text('precious')
        process.terminate()
        process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert (tmp_path / 's').read_text() == 'precious'


def test_a_server_that_is_down_ends_the_connection_and_is_named(tmp_path):
    with tcp_server(echo) as port:
        pass
    with bridge(tmp_path / 's', port) as process:
        with connect(tmp_path / 's') as connection:
            assert connection.recv(1) == b''
        assert f'{HOST}:{port} does not answer' in process.stderr.readline()
        process.terminate()
        process.communicate(timeout=TIMEOUT)


def test_a_server_that_breaks_off_ends_the_connection(tmp_path):
    def reset(connection):
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
        connection.close()

    with tcp_server(reset) as port, bridge(tmp_path / 's', port) as process:
        with connect(tmp_path / 's') as connection:
            connection.sendall(b'1')
            assert connection.recv(1) == b''
        process.terminate()
        assert process.communicate(timeout=TIMEOUT) == ('', '')


@pytest.mark.parametrize(
    ('path', 'options', 'expected'),
    [
        ('no/directory/s', [], 'cannot be made'),
        ('x' * 200, [], 'cannot be'),
        ('s', ['--mode', '999'], 'octal'),
        ('s', ['--mode', '-1'], 'octal'),
    ],
)
def test_what_cannot_be_is_told(tmp_path, path, options, expected):
    assert expected in refused(tmp_path / path, 9, *options)


@pytest.mark.parametrize('url', ['grpcs://host:1', 'http://host:1', 'grpc://', 'host:1'])
def test_only_plain_grpc_is_bridged(tmp_path, url):
    command = [sys.executable, '-m', 'inference_client', 'unix-bridge', str(tmp_path / 's'), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert 'scheme://host:port' in done.stderr or 'grpc://host:port' in done.stderr
