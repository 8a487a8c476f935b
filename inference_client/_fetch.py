"""Bytes from where a string points to: a path, a data URI or an http(s) URL."""

from __future__ import annotations

import re
import stat
import urllib.request
import zlib
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Iterable, Iterator
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from ._addresses import PrivateAddressError
from ._http import Deadline, Session
from .errors import InputError, bare

MAX_BYTES = 64 * 1024 * 1024
CHUNK = 1 << 16  # bytes
CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 30.0  # seconds; the second is for each read
TOTAL_TIMEOUT = 60.0  # seconds, for an image with all its redirects
JOINERS = '\u200c\u200d'  # within emoji and in several scripts

_trusting: ContextVar[bool] = ContextVar('trusting', default=True)  # for tasks, which fetch, know no client

# Those of image/* types. A list of our own, for what `mimetypes` knows differs from machine to machine.
_IMAGE_NAME = re.compile(
    r'[^/]\.(apng|avif|bmp|gif|hei[cf]|ico|jfif|jp2|jpe|jpe?g|p[bgnp]m|png|svg|tiff?|webp)\Z', re.ASCII | re.I
)


@contextmanager
def trusting_environment(trusted: bool) -> Iterator[None]:
    """Whether what is fetched in the `with` block may go through the proxies that the environment names."""
    before = _trusting.set(trusted)
    try:
        yield
    finally:
        _trusting.reset(before)


def looks_like_image(text: str) -> bool:
    """Whether a string is a data URI of an image, or has a file name with an image's ending."""
    if text[:5].lower() == 'data:':
        return text[5:11].lower() == 'image/' and ',' in text
    if text[:8].lower().startswith(('http://', 'https://', 'file://')):
        try:
            text = urlsplit(text).path
        except ValueError:  # not an URL, though it starts like one
            return False
    return _IMAGE_NAME.search(text) is not None


def load(source: str, allow_private: bool = False) -> bytes:
    """Read all of it.

    Args:
        source: a path, a data URI, or an http(s) URL.
        allow_private: whether the URL, or one that it redirects to, may be at an address that is not public.

    Raises:
        InputError: it cannot be read, or is an URL with more than 64 MiB behind it or at a private address.
    """
    start = source[:8].lower()
    if start.startswith('data:'):
        return _from_data_uri(source)
    if start.startswith(('http://', 'https://')):
        return _from_url(source, allow_private)
    return read_file(source)


def shorten(source: str) -> str:
    """The source as an error shows it: a data URI without its data, an URL without credentials and query."""
    if source[:5].lower() == 'data:':
        return printable(source, 30)
    if '://' in source:  # of any scheme, for those that are not known are taken for paths
        return printable(bare(source), 200)
    return repr(source if len(source) <= 200 else source[:200] + '...')


def printable(text: str, limit: int) -> str:
    """Its start with lone surrogates and control characters escaped, which a terminal or log cannot take."""
    start = text if len(text) <= limit else text[:limit] + '...'
    return ''.join(one if one.isprintable() or one in JOINERS else ascii(one)[1:-1] for one in start)


def read_file(source: str) -> bytes:
    """Read a file of this machine, given by its path or a file:// URL.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    name = shorten(source)
    try:
        if source[:7].lower() == 'file://':
            source = urllib.request.url2pathname(urlsplit(source).path)
        path = Path(source)
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise InputError(f'{name} is a device or a pipe, which may never end: read it and give its bytes')
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f'no such image file: {name}; give a path, an http(s) URL or a data URI') from None
    except IsADirectoryError:
        raise InputError(f'{name} is a directory: expected an image file') from None
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f'{name} cannot be read as an image file: {error}') from error


def _from_data_uri(source: str) -> bytes:
    try:
        with urllib.request.urlopen(source) as answer:
            return bytes(answer.read())
    except (OSError, ValueError) as error:
        raise InputError(f'{shorten(source)} is not a valid data URI: {error}') from error


def _from_url(source: str, allow_private: bool) -> bytes:
    name = shorten(source)
    with Deadline(TOTAL_TIMEOUT) as deadline:
        try:
            data = _download(source, name, allow_private)
        except InputError:
            raise
        except PrivateAddressError:
            raise InputError(
                f'{name} is at a private address or redirects to one: if it is to be trusted, '
                'allow it with Image(url, allow_private=True), or --allow-private on the command line'
            ) from None
        except zlib.error:
            raise InputError(f'{name} came compressed and damaged: fetch it and give its bytes') from None
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            if not deadline.over:
                reason = type(error).__name__  # its text may hold credentials and the query, hence from None too
                raise InputError(f'{name} cannot be fetched ({reason}): check the address') from None
    if deadline.over:
        raise InputError(f'{name} did not arrive within {TOTAL_TIMEOUT:g} s: fetch it and give its bytes')
    return data


def _download(source: str, name: str, allow_private: bool) -> bytes:
    chunks, size = [], 0
    limits = (CONNECT_TIMEOUT, READ_TIMEOUT)
    with _ImageSession(allow_private) as session, session.get(source, stream=True, timeout=limits) as answer:
        if answer.status_code != 200:
            raise InputError(
                f'{name} answered {answer.status_code} {answer.reason}: expected an image, so check the address'
            )
        for chunk in _content(answer, name):
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BYTES:
                raise InputError(f'{name} is larger than {MAX_BYTES >> 20} MiB: fetch it and scale it down')
    return b''.join(chunks)


class _ImageSession(Session):
    def __init__(self, allow_private: bool) -> None:
        super().__init__(_trusting.get(), allow_private)
        self.headers['Accept-Encoding'] = 'identity'

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is not None:
            resp.raw.close()
            resp._content = b''  # requests would read all of what comes with a redirect, however long
        return target


def _content(answer: requests.Response, name: str) -> Iterator[bytes]:
    """The body in pieces of at most `CHUNK` bytes; requests would inflate one as far as it goes."""
    pieces = iter(lambda: answer.raw.read(CHUNK, decode_content=False), b'')
    encoding = answer.headers.get('Content-Encoding', '').strip().lower()
    if encoding in ('', 'identity'):
        return pieces
    if encoding not in ('gzip', 'x-gzip', 'deflate'):
        raise InputError(f'{name} came as {encoding[:80]!r}, which was not asked for: fetch it and give its bytes')
    return _inflated(pieces)


def _inflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(32 + zlib.MAX_WBITS)  # gzip or zlib
    for piece in pieces:
        yield inflater.decompress(piece, CHUNK)
        while inflater.unconsumed_tail:
            yield inflater.decompress(inflater.unconsumed_tail, CHUNK)
        if inflater.eof:  # what follows would be kept, without end
            return
    raise zlib.error('it is cut')
