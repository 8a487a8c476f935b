"""Images behind URLs, fetched from a real server; what an error may tell."""

from __future__ import annotations

import socket
import threading
import traceback
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest
from docarray import Document
from hypothesis import given
from hypothesis import strategies as st
from strategies import encoded, noise

from inference_client import _fetch
from inference_client._fetch import MAX_BYTES, load, shorten
from inference_client._inputs import any_document, from_document, image_document
from inference_client.errors import InputError

PNG = encoded(noise())


class Site(BaseHTTPRequestHandler):
    """One page for each thing that can happen."""

    def do_GET(self):
        page = self.path.split('?')[0].strip('/').replace('.png', '')
        with suppress(ConnectionError):  # the client has had enough
            getattr(self, page, self.missing)()

    def cat(self):
        self.answer(200, PNG)

    def page(self):
        self.answer(200, b'<html>Not an image</html>')

    def nothing(self):
        self.answer(200, b'')

    def missing(self):
        self.answer(404, b'')

    def forbidden(self):
        self.answer(403, PNG)

    def part(self):
        self.answer(206, PNG)

    def broken(self):
        self.answer(500, b'')

    def moved(self):
        self.answer(302, b'', Location='/cat.png')

    def circle(self):
        self.answer(302, b'', Location='/circle.png')

    def inward(self):
        self.answer(302, b'', Location='file:///etc/hostname')

    def cut(self):
        self.answer(200, PNG[:-40], **{'Content-Length': str(len(PNG))})

    def garbled(self):
        self.answer(200, PNG, **{'Content-Encoding': 'gzip'})

    def huge(self):
        self.answer(200, b'')
        for _ in range(2 * MAX_BYTES >> 20):
            self.wfile.write(bytes(1 << 20))

    def silent(self):
        self.server.over.wait(60)

    def drip(self):
        self.answer(200, b'')
        while not self.server.over.wait(0.05):
            self.wfile.write(b'x')

    def locked(self):
        self.answer(200 if self.headers.get('Authorization') == 'Basic YW5uYTpYeXp6eQ==' else 401, PNG)

    def open(self):
        self.answer(401 if self.headers.get('Authorization') else 200, PNG)

    def moved_open(self):
        self.answer(302, b'', Location='/open.png')

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@contextmanager
def closed_port():
    """A port that nobody listens on, kept so while in use."""
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        yield taken.getsockname()[1]


@pytest.fixture(scope='module')
def address():
    """Host and port of the site."""
    with ThreadingHTTPServer(('127.0.0.1', 0), Site) as server:
        server.over = threading.Event()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f'127.0.0.1:{server.server_port}'
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """No proxy of the machine stands between a test and its server."""
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')


@pytest.mark.parametrize('path', ['cat.png', 'cat.png?size=large', 'moved.png'])
def test_an_url_gives_the_bytes_behind_it(address, path):
    url = f'http://{address}/{path}'
    for document in (image_document(url), any_document(url), from_document(Document(uri=url))):
        assert document.blob == PNG
        assert document.uri == url


@pytest.mark.parametrize(
    ('path', 'words'),
    [
        ('missing.png', r'missing\.png answered 404 Not Found: expected an image'),
        ('forbidden.png', r'forbidden\.png answered 403'),
        ('part.png', r'part\.png answered 206'),
        ('broken.png', r'broken\.png answered 500'),
        ('page.png', r'page\.png is not an image'),
        ('nothing.png', r'nothing\.png is empty'),
        ('circle.png', r'circle\.png cannot be fetched \(TooManyRedirects\)'),
        ('inward.png', r'inward\.png cannot be fetched \(InvalidSchema\)'),
        ('cut.png', r'cut\.png (cannot be fetched|is damaged)'),
        ('garbled.png', r'garbled\.png cannot be fetched \(ContentDecodingError\)'),
        ('huge.png', r'huge\.png is larger than 64 MiB: fetch it and scale it down'),
    ],
)
def test_what_goes_wrong_is_said_without_credentials_and_query(address, path, words):
    url = f'http://anna:Xyzzy@{address}/{path}?token=Plugh#Frotz'
    with pytest.raises(InputError, match=f'^http://{address}/{words}') as caught:
        image_document(url)
    told = ''.join(traceback.format_exception(type(caught.value), caught.value, caught.value.__traceback__))
    assert not [secret for secret in ('anna', 'Xyzzy', 'Plugh', 'Frotz') if secret in without_sources(told)]


def without_sources(told):
    """A traceback without its lines of source, which are those of this file."""
    return '\n'.join(line for line in told.splitlines() if not line.startswith('    '))


@given(secret=st.text(st.characters(blacklist_categories=('Cs',)), min_size=1).map('Xyzzy{}'.format))
def test_a_refused_connection_is_said_without_credentials_and_query(secret):
    with closed_port() as port:
        url = f'http://anna:{quote(secret, safe="")}@127.0.0.1:{port}/cat.png?token={quote(secret, safe="")}'
        with pytest.raises(InputError, match=r'cannot be fetched \(\w+\): check the address') as caught:
            image_document(url)
    told = ''.join(traceback.format_exception(type(caught.value), caught.value, caught.value.__traceback__))
    assert f'http://127.0.0.1:{port}/cat.png' in str(caught.value)
    assert 'Xyzzy' not in without_sources(told)
    assert 'anna' not in without_sources(told)


def test_a_server_that_says_nothing_is_given_up(address, monkeypatch):
    monkeypatch.setattr(_fetch, 'READ_TIMEOUT', 0.1)
    with pytest.raises(InputError, match=r'silent\.png cannot be fetched \(ReadTimeout\)'):
        image_document(f'http://{address}/silent.png')


def test_a_server_that_drips_is_given_up(address, monkeypatch):
    monkeypatch.setattr(_fetch, 'TOTAL_TIMEOUT', 0.4)
    with pytest.raises(InputError, match=r'drip\.png did not arrive within 0\.4 s: fetch it'):
        image_document(f'http://{address}/drip.png')  # READ_TIMEOUT never comes: each byte is in time


def test_a_password_in_the_url_is_sent(address):
    assert image_document(f'http://anna:Xyzzy@{address}/locked.png').blob == PNG


@pytest.mark.parametrize('page', ['open', 'moved_open'])
def test_a_password_in_netrc_is_not_sent(address, page, tmp_path, monkeypatch):
    (tmp_path / 'netrc').write_text('machine 127.0.0.1 login anna password Xyzzy\n')
    monkeypatch.setenv('NETRC', str(tmp_path / 'netrc'))
    assert image_document(f'http://{address}/{page}.png').blob == PNG


@pytest.mark.parametrize(
    'url',
    ['http://', 'https://', 'http://[', 'http://[::1', 'http://\ud800/', 'http://.cat.png', 'HTTP://:x'],
)
def test_what_is_no_url_is_an_input_error(url):
    with pytest.raises(InputError) as caught:
        load(url)
    str(caught.value).encode()


@pytest.mark.parametrize('url', ['ftp://anna:Xyzzy@example.org/cat.png?Plugh', 's3://anna:Xyzzy@bucket/cat.png'])
def test_an_url_of_another_kind_is_refused_without_its_credentials(url):
    with pytest.raises(InputError, match=r'no such image file.*give a path, an http') as caught:
        load(url)
    assert 'Xyzzy' not in str(caught.value)
    assert 'Plugh' not in str(caught.value)


def test_a_password_that_was_not_quoted_stays_hidden_too():
    for password in ('Xy#zzy', 'Xy?zzy', 'Xy@zzy', 'Xy:zzy'):
        assert shorten(f'http://anna:{password}@example.org/cat.png?size=3') == 'http://example.org/cat.png'


@given(source=st.one_of(st.text(), st.text().map('data:{}'.format), st.text().map('http://{}'.format)))
def test_every_source_has_a_short_printable_form(source):
    shown = shorten(source)
    assert shown.isprintable()
    assert len(shown) <= 10 * 200 + 50
    shown.encode()


def test_a_source_without_an_end_is_not_read():
    with pytest.raises(InputError, match='device or a pipe'):
        load('/dev/zero')
