"""Images behind URLs, fetched from a real server; what an error may tell."""

from __future__ import annotations

import gzip
import hashlib
import socket
import socketserver
import ssl
import threading
import traceback
import tracemalloc
import zlib
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote, urlsplit

import pytest
from docarray import Document
from hypothesis import given
from hypothesis import strategies as st
from strategies import encoded, noise

from inference_client import Call, Client, Task, _addresses, _fetch
from inference_client._addresses import is_public
from inference_client._fetch import MAX_BYTES, load, shorten
from inference_client._inputs import Image, any_document, from_document, image_document
from inference_client.errors import InputError

PNG = encoded(noise())
BOMB = gzip.compress(bytes(3 * MAX_BYTES))  # a thousandth of that
PRIVATE = [
    '127.0.0.1',
    '127.1.2.3',
    '10.0.0.1',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
    '224.0.0.1',
    '255.255.255.255',
    '192.0.2.1',
    '198.18.0.1',
    '240.0.0.1',
    '::',
    '::1',
    'fc00::1',
    'fd12:3456::1',
    'fe80::1',
    'fec0::1',
    'ff02::1',
    '2001:db8::1',
    '::ffff:127.0.0.1',
    '::ffff:10.0.0.1',
    '::127.0.0.1',
    '64:ff9b::a9fe:a9fe',
    '2002:7f00:1::',
]
PUBLIC = [
    '1.1.1.1',
    '93.184.216.34',
    '172.15.0.1',
    '172.32.0.1',
    '100.63.0.1',
    '100.128.0.1',
    '2606:4700::1111',
    '::ffff:1.1.1.1',
    '64:ff9b::101:101',
    '2002:101:101::',
]
HERE = [  # ways to write this machine's address that resolvers understand
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f000001',
    '0x7f.0.0.1',
    '0177.0.0.1',
    '0',
    'localhost',
    'LOCALHOST',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
]


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

    def packed(self):
        self.answer(200, gzip.compress(PNG), **{'Content-Encoding': 'gzip'})

    def deflated(self):
        self.answer(200, zlib.compress(PNG), **{'Content-Encoding': 'Deflate'})

    def unpacked(self):
        self.answer(200, PNG, **{'Content-Encoding': ''})

    def packed_and_more(self):
        self.answer(200, gzip.compress(PNG), **{'Content-Encoding': 'x-gzip'})
        self.endless()

    def packed_and_cut(self):
        self.answer(200, gzip.compress(PNG)[:-9], **{'Content-Encoding': 'gzip'})

    def bomb(self):
        self.answer(200, BOMB, **{'Content-Encoding': 'gzip'})

    def bomb_in_bomb(self):
        self.answer(200, gzip.compress(BOMB), **{'Content-Encoding': 'gzip, gzip'})

    def plain_only(self):
        self.answer(200 if self.headers.get('Accept-Encoding') == 'identity' else 406, PNG)

    def lie(self):
        self.answer(200, PNG, **{'Content-Type': 'text/html; charset=utf-8', 'X-Content-Type-Options': 'nosniff'})

    def other_lie(self):
        self.answer(200, b'<html>Not an image</html>', **{'Content-Type': 'image/png'})

    def chain(self):
        left = int(self.path.partition('?')[2])
        self.answer(302, b'', Location=f'/chain.png?{left - 1}' if left else '/cat.png')

    def lead(self):
        self.answer(307, b'', Location=unquote(self.path.partition('?')[2]))

    def moved_with_a_bomb(self):
        self.answer(302, BOMB, **{'Location': '/cat.png', 'Content-Encoding': 'gzip'})
        self.endless()

    def endless(self):
        while not self.server.over.is_set():
            self.wfile.write(bytes(1 << 20))

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


def private(url):
    """The image behind an URL of this machine."""
    return image_document(Image(url, allow_private=True))


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
    for function in (image_document, any_document):
        for value in (Image(url, allow_private=True), Image(Document(uri=url), allow_private=True)):
            document = function(value)
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
        ('garbled.png', r'garbled\.png came compressed and damaged'),
        ('huge.png', r'huge\.png is larger than 64 MiB: fetch it and scale it down'),
    ],
)
def test_what_goes_wrong_is_said_without_credentials_and_query(address, path, words):
    url = f'http://anna:Xyzzy@{address}/{path}?token=Plugh#Frotz'
    with pytest.raises(InputError, match=f'^http://{address}/{words}') as caught:
        private(url)
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
            private(url)
    told = ''.join(traceback.format_exception(type(caught.value), caught.value, caught.value.__traceback__))
    assert f'http://127.0.0.1:{port}/cat.png' in str(caught.value)
    assert 'Xyzzy' not in without_sources(told)
    assert 'anna' not in without_sources(told)


@pytest.mark.parametrize(
    'page',
    ['packed', 'unpacked', 'deflated', 'packed_and_more', 'plain_only', 'lie', 'chain.png?5', 'moved_with_a_bomb'],
)
def test_what_is_odd_but_an_image_is_taken(address, page):
    assert private(f'http://{address}/{page}').blob == PNG


@pytest.mark.parametrize(
    ('page', 'words'),
    [
        ('bomb', 'larger than 64 MiB'),
        ('bomb_in_bomb', "came as 'gzip, gzip', which was not asked for"),
        ('packed_and_cut', 'came compressed and damaged'),
        ('other_lie', 'is not an image'),
        ('chain.png?40', 'TooManyRedirects'),
    ],
)
def test_what_is_odd_and_no_image_is_refused(address, page, words):
    with pytest.raises(InputError, match=words):
        private(f'http://{address}/{page}')


@pytest.mark.parametrize('page', ['bomb', 'bomb_in_bomb', 'moved_with_a_bomb'])
def test_a_bomb_does_not_fill_the_memory(address, page):
    tracemalloc.start()
    try:
        with suppress(InputError):
            private(f'http://{address}/{page}')
        assert tracemalloc.get_traced_memory()[1] < 2.5 * MAX_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize('ip', PRIVATE)
def test_private_addresses_are_known(ip):
    assert not is_public(ip)


@pytest.mark.parametrize('ip', PUBLIC)
def test_public_addresses_are_known(ip):
    assert is_public(ip)


@given(ip=st.ip_addresses(v=4))
def test_an_address_in_another_is_judged_as_itself(ip):
    low = f'{int(ip) >> 16:x}:{int(ip) & 0xFFFF:x}'
    for wrapped in (f'::ffff:{ip}', f'64:ff9b::{low}', f'2002:{low}::'):
        assert is_public(wrapped) == is_public(str(ip))


@pytest.mark.parametrize('host', HERE)
def test_this_machine_is_left_alone_however_it_is_written(address, host, connections):
    port = address.rpartition(':')[2]
    for url in (f'http://{host}:{port}/cat.png', f'http://anna@{host}:{port}/cat.png'):
        for function, value in (
            (image_document, url),
            (any_document, Image(url)),
            (from_document, Document(uri=url)),
            (image_document, Document(uri=url)),
        ):
            with pytest.raises(InputError, match=r'is at a private address or redirects to one.*allow_private=True'):
                function(value)
    assert connections == []


@pytest.mark.parametrize('ip', [ip for ip in PRIVATE if ip not in ('::', 'fe80::1', 'ff02::1')])
def test_private_addresses_are_not_connected_to(ip, connections):
    host = f'[{ip}]' if ':' in ip else ip
    with pytest.raises(InputError, match='is at a private address'):
        image_document(f'http://{host}/cat.png')
    assert connections == []


@pytest.fixture
def connections(monkeypatch):
    """The addresses that are connected to."""
    made = []

    class Socket(socket.socket):
        def connect(self, to):
            made.append(to[0])
            super().connect(to)

    monkeypatch.setattr(socket, 'socket', Socket)
    return made


@pytest.fixture
def names(monkeypatch):
    """Names of hosts and the addresses they have, one list for each look-up, in place of the DNS."""
    known, real = {}, socket.getaddrinfo

    def getaddrinfo(host, port, *arguments, **named):
        if host not in known:
            return real(host, port, *arguments, **named)
        return [one for ip in known[host].pop(0) for one in real(ip, port, *arguments, **named)]

    monkeypatch.setattr(socket, 'getaddrinfo', getaddrinfo)
    return known


@pytest.fixture
def site_is_public(monkeypatch):
    """127.0.0.1, where the site is, counts as public; all else as it is."""
    monkeypatch.setattr(_addresses, 'is_public', lambda ip: ip == '127.0.0.1' or is_public(ip))


@pytest.mark.parametrize('found', [['10.0.0.5'], ['127.0.0.1', '10.0.0.5'], ['fd00::5']])
@pytest.mark.usefixtures('site_is_public')
def test_a_name_with_a_private_address_is_refused(address, names, connections, found):
    names['cats.example'] = [found]
    with pytest.raises(InputError, match='is at a private address'):
        image_document(f'http://cats.example:{address.rpartition(":")[2]}/cat.png')
    assert connections == []


@pytest.mark.usefixtures('site_is_public')
def test_what_was_checked_is_what_is_connected_to(address, names):
    names['cats.example'] = [['127.0.0.1'], ['10.0.0.5']]  # what the name leads to changes after the first look
    assert image_document(f'http://cats.example:{address.rpartition(":")[2]}/cat.png').blob == PNG
    assert names['cats.example'] == [['10.0.0.5']]


@pytest.mark.usefixtures('site_is_public')
def test_a_certificate_is_checked_against_the_name(names, tmp_path, monkeypatch):
    authority = pytest.importorskip('trustme').CA()
    authority.cert_pem.write_to_path(tmp_path / 'ca.pem')
    monkeypatch.setenv('REQUESTS_CA_BUNDLE', str(tmp_path / 'ca.pem'))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('cats.example').configure_cert(context)
    with ThreadingHTTPServer(('127.0.0.1', 0), Site) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # a handshake that fails
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        names.update({'cats.example': [['127.0.0.1']], 'dogs.example': [['127.0.0.1']]})
        try:
            assert image_document(f'https://cats.example:{server.server_port}/cat.png').blob == PNG
            with pytest.raises(InputError, match='SSLError'):
                image_document(f'https://dogs.example:{server.server_port}/cat.png')
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.usefixtures('site_is_public')
def test_the_next_address_is_tried_when_the_first_is_down(address, names, connections, monkeypatch):
    monkeypatch.setattr(_addresses, 'is_public', lambda ip: ip.startswith('127.'))
    names['cats.example'] = [['127.0.0.2', '127.0.0.1']]
    assert image_document(f'http://cats.example:{address.rpartition(":")[2]}/cat.png').blob == PNG
    assert connections == ['127.0.0.2', '127.0.0.1']


@pytest.mark.parametrize('host', ['127.0.0.2', 'localhost.', '[::1]', '169.254.169.254', '0x7f000002'])
@pytest.mark.usefixtures('site_is_public')
def test_a_redirect_to_a_private_address_is_refused(address, host, names, connections):
    names['localhost.'] = [['127.0.0.2'], ['127.0.0.2']]
    for target in (f'http://{host}:1/cat.png', f'//{host}/cat.png'):
        with pytest.raises(InputError, match=r'lead\.png is at a private address or redirects to one') as caught:
            image_document(f'http://{address}/lead.png?{quote(target)}')
        assert host not in str(caught.value)
    assert set(connections) == {'127.0.0.1'}


@pytest.mark.parametrize('target', ['file:///etc/hostname', 'data:image/png;base64,AAAA', 'ftp://example.org/a.png'])
def test_a_redirect_to_another_scheme_is_refused(address, target):
    with pytest.raises(InputError, match=r'cannot be fetched \(InvalidSchema\)'):
        private(f'http://{address}/lead.png?{quote(target)}')


class Proxy(Site):
    """Answers for every host."""

    def do_GET(self):
        self.server.asked.append(self.path)
        self.path = urlsplit(self.path).path
        super().do_GET()


@pytest.fixture
def proxy(monkeypatch):
    """What a proxy of the environment is asked for."""
    with ThreadingHTTPServer(('127.0.0.1', 0), Proxy) as server:
        server.over, server.asked = threading.Event(), []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.delenv('NO_PROXY', raising=False)
        monkeypatch.setenv('http_proxy', f'http://127.0.0.1:{server.server_port}')
        yield server.asked
        server.shutdown()
        thread.join()


def test_a_proxy_may_be_private_and_looks_names_up(proxy):
    assert image_document('http://cats.invalid/cat.png').blob == PNG
    assert proxy == ['http://cats.invalid/cat.png']


def test_a_proxy_is_not_asked_for_private_addresses(proxy, names):
    names['cats.example'] = [['10.0.0.5']]
    for host in ('10.0.0.1', '[::1]', '2130706433', 'localhost', 'cats.example'):
        with pytest.raises(InputError, match='is at a private address'):
            image_document(f'http://{host}/cat.png')
    assert proxy == []
    assert private('http://10.0.0.1/cat.png').blob == PNG


class Images(Task):
    """Sends images to the engine that tells what arrived; `at_once` loads them where others are lazy."""

    name = 'echo'

    def prepare(self, *, docs, at_once=False):
        made = map(image_document, docs)
        return Call(list(made) if at_once else made, {'seen': True})


async def one_by_one(values):
    for value in values:
        yield value


def test_a_client_that_does_not_trust_the_environment_fetches_past_its_proxies(address, door, monkeypatch):
    images = [Image(f'http://{address}/{name}', allow_private=True) for name in ('cat.png', 'moved.png')]
    ways = [
        lambda model: model.run(Images, docs=images),
        lambda model: model.run(Images, docs=images, at_once=True),
        lambda model: list(model.stream(Images, images, batch_size=1)),
    ]
    if door is not Client:
        ways.append(lambda model: list(model.stream(Images, one_by_one(images))))
        ways.append(lambda model: list(model.stream(Images, one_by_one(images), at_once=True)))
    monkeypatch.delenv('NO_PROXY')
    monkeypatch.delenv('no_proxy', raising=False)
    with closed_port() as port, door(trust_env=False) as wary, door() as trusting:
        monkeypatch.setenv('http_proxy', f'http://127.0.0.1:{port}')
        for ask in ways:
            answers = ask(wary.get_model('local://echo'))
            assert [one.tags['seen']['blob'] for one in answers] == [hashlib.sha256(PNG).hexdigest()] * 2
            with pytest.raises(InputError, match=r'cannot be fetched \(ProxyError\)'):
                ask(trusting.get_model('local://echo'))


@pytest.fixture
def socks_proxy(monkeypatch):
    """Where connections through a SOCKS proxy of the environment lead, each to the host that was asked for."""
    asked = []

    class Socks(socketserver.StreamRequestHandler):
        def handle(self):
            self.rfile.read(self.rfile.read(2)[1])  # ways to say who one is
            self.wfile.write(b'\x05\x00')
            kind = self.rfile.read(4)[3]
            host = self.rfile.read(4 if kind == 1 else self.rfile.read(1)[0])
            port = int.from_bytes(self.rfile.read(2), 'big')
            asked.append(socket.inet_ntoa(host) if kind == 1 else host.decode())
            with socket.create_connection(('127.0.0.1', port)) as there:
                self.wfile.write(b'\x05\x00\x00\x01' + bytes(6))
                there.sendall(self.connection.recv(65536))
                while True:
                    data = there.recv(65536)
                    if not data:
                        return
                    self.wfile.write(data)

    with socketserver.ThreadingTCPServer(('127.0.0.1', 0), Socks) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.delenv('NO_PROXY', raising=False)
        monkeypatch.setenv('http_proxy', f'socks5h://127.0.0.1:{server.server_address[1]}')
        yield asked
        server.shutdown()
        thread.join()


def test_a_socks_proxy_of_the_environment_is_used(socks_proxy, address):
    pytest.importorskip('socks')
    url = f'http://cats.invalid:{address.rpartition(":")[2]}/cat.png'
    for _ in range(2):
        assert image_document(url).blob == PNG
    assert socks_proxy == ['cats.invalid', 'cats.invalid']
    with pytest.raises(InputError, match='is at a private address'):
        image_document(f'http://{address}/cat.png')
    assert len(socks_proxy) == 2


def test_a_server_that_says_nothing_is_given_up(address, monkeypatch):
    monkeypatch.setattr(_fetch, 'READ_TIMEOUT', 0.1)
    with pytest.raises(InputError, match=r'silent\.png cannot be fetched \(ReadTimeout\)'):
        private(f'http://{address}/silent.png')


def test_a_server_that_drips_is_given_up(address, monkeypatch):
    monkeypatch.setattr(_fetch, 'TOTAL_TIMEOUT', 0.4)
    with pytest.raises(InputError, match=r'drip\.png did not arrive within 0\.4 s: fetch it'):
        private(f'http://{address}/drip.png')  # READ_TIMEOUT never comes: each byte is in time


def test_a_password_in_the_url_is_sent(address):
    assert private(f'http://anna:Xyzzy@{address}/locked.png').blob == PNG


@pytest.mark.parametrize('page', ['open', 'moved_open'])
def test_a_password_in_netrc_is_not_sent(address, page, tmp_path, monkeypatch):
    (tmp_path / 'netrc').write_text('machine 127.0.0.1 login anna password Xyzzy\n')
    monkeypatch.setenv('NETRC', str(tmp_path / 'netrc'))
    assert private(f'http://{address}/{page}.png').blob == PNG


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
