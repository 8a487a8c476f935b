"""Who asked for what, a line each: nothing that was sent, and no tokens."""

from __future__ import annotations

import logging
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

import orjson

from ..errors import ConfigurationError

logger = logging.getLogger('inference_client.server')


class AccessLog:
    """JSON lines, written as requests end.

    Args:
        path: of the file, which is appended to; `-` is standard error.

    Raises:
        ConfigurationError: the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._file: IO[bytes]
        try:
            self._file = _standard_error() if path == '-' else Path(path).open('ab', buffering=0)  # noqa: SIM115 - as long as the service
        except OSError as error:
            raise ConfigurationError(
                f'the access log {path} cannot be opened ({error.strerror}): name another with --access-log'
            ) from error

    def note(self, **fields: Any) -> None:
        """Write a line with the time and these fields. A disk that is full costs the line and no answer."""
        time = datetime.now(timezone.utc).isoformat(timespec='milliseconds')
        try:
            self._file.write(orjson.dumps({'time': time, **fields}, option=orjson.OPT_APPEND_NEWLINE))
        except OSError as error:
            logger.error('a line of the access log is lost: %s', error.strerror)


def _standard_error() -> IO[bytes]:
    """Standard error without the buffer that it has where it is no terminal: a line would wait there for 8 KiB more."""
    return open(sys.stderr.fileno(), 'wb', buffering=0, closefd=False)
