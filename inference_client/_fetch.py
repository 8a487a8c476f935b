"""Bytes from where a string points to: a path, a data URI or an http(s) URL."""

from __future__ import annotations

import re
import stat
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import requests

from ._http import Deadline, Session
from .errors import InputError

MAX_BYTES = 64 * 1024 * 1024
CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 30.0  # seconds; the second is for each read
TOTAL_TIMEOUT = 60.0  # seconds, for an image with all its redirects


def load(source: str) -> bytes:
    """Read all of it.

    Raises:
        InputError: it cannot be read, or is an URL with more than 64 MiB behind it.
    """
    start = source[:8].lower()
    if start.startswith('data:'):
        return _from_data_uri(source)
    if start.startswith(('http://', 'https://')):
        return _from_url(source)
    return _from_path(source)


def shorten(source: str) -> str:
    """The source as an error shows it: a data URI without its data, an URL without credentials and query."""
    if source[:5].lower() == 'data:':
        return _printable(source, 30)
    if '://' in source:  # of any scheme, for those that are not known are taken for paths
        return _printable(re.split('[?#]', re.sub('://[^/]*@', '://', source))[0], 200)
    return repr(source if len(source) <= 200 else source[:200] + '...')


def _printable(text: str, limit: int) -> str:
    """Its start with lone surrogates and control characters escaped, which a terminal or log cannot take."""
    start = text if len(text) <= limit else text[:limit] + '...'
    return ''.join(one if one.isprintable() else ascii(one)[1:-1] for one in start)


def _from_path(source: str) -> bytes:
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


def _from_url(source: str) -> bytes:
    name = shorten(source)
    with Deadline(TOTAL_TIMEOUT) as deadline:
        try:
            data = _download(source, name)
        except InputError:
            raise
        except (requests.RequestException, OSError, ValueError) as error:
            if not deadline.over:
                reason = type(error).__name__  # its text may hold credentials and the query, hence from None too
                raise InputError(f'{name} cannot be fetched ({reason}): check the address') from None
    if deadline.over:
        raise InputError(f'{name} did not arrive within {TOTAL_TIMEOUT:g} s: fetch it and give its bytes')
    return data


def _download(source: str, name: str) -> bytes:
    chunks, size = [], 0
    limits = (CONNECT_TIMEOUT, READ_TIMEOUT)
    with Session() as session, session.get(source, stream=True, timeout=limits) as answer:
        if answer.status_code != 200:
            raise InputError(f'{name} answered {answer.status_code} {answer.reason}: expected an image')
        for chunk in answer.iter_content(1 << 16):
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BYTES:
                raise InputError(f'{name} is larger than {MAX_BYTES >> 20} MiB: fetch it and scale it down')
    return b''.join(chunks)
