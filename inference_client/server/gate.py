"""Who may ask, and how often: the same on all protocols."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Iterator

from .refusals import ForbiddenError, Refusal, TooManyError, UnauthorizedError
from .settings import is_loopback

if TYPE_CHECKING:
    from .access_log import AccessLog
    from .rate import RateLimiter
    from .tokens import TokenStore


class Gate:
    """Checks tokens and rates.

    Args:
        store: the tokens; None: everyone on this machine may ask.
        limiter: how often each token may; None: as often as it likes.
        log: where those without a good token are noted.
    """

    def __init__(
        self, store: TokenStore | None = None, limiter: RateLimiter | None = None, log: AccessLog | None = None
    ) -> None:
        self._store = store
        self._limiter = limiter
        self._log = log

    def admit(self, presented: str | None, peer: str) -> str:
        """Who asks: the id of a token, or the peer.

        Args:
            presented: the token, or None.
            peer: the address that the request came from.

        Raises:
            UnauthorizedError: the token is missing or not good.
        """
        if self._store is None:
            return peer
        token = self._store.check(presented)
        if token is None:
            if self._log is not None:
                self._log.note(peer=peer, outcome=str(UnauthorizedError.http))
            why = 'the token is not known, or expired or revoked' if presented else 'a token is needed'
            raise UnauthorizedError(f'{why}: send it as "authorization"')
        return token.id

    @contextmanager
    def noted(self, presented: str | None, peer: str, protocol: str, path: str) -> Iterator[str]:
        """Admit who looks at something and asks no model, and note that when it is over; gives who it is."""
        who, outcome = self.admit(presented, peer), 'failed'
        try:
            yield who
            outcome = 'ok'
        except Refusal as refusal:
            outcome = str(refusal.http)
            raise
        finally:
            if self._log is not None:
                self._log.note(peer=peer, token=token_of(who, peer), protocol=protocol, path=path, outcome=outcome)

    @property
    def wants_tokens(self) -> bool:
        """Whether it asks for tokens."""
        return self._store is not None

    def pace(self, who: str) -> None:
        """Count one request.

        Raises:
            TooManyError: it comes too early.
        """
        delay = self._limiter.delay(who) if self._limiter is not None else 0.0
        if delay:
            raise TooManyError('too many requests: the service takes no more of them for now', delay)

    def check_origin(self, host: str, origin: str | None) -> None:
        """Keep pages of other sites out, where no token does: a browser would let them ask servers of this machine.

        Args:
            host: the header `Host`.
            origin: the header `Origin`, which browsers send.

        Raises:
            ForbiddenError: the request comes from such a page.
        """
        if self._store is not None:
            return
        if not is_loopback(_host(host)):
            raise ForbiddenError(
                'without tokens the service answers only at addresses of this machine, such as 127.0.0.1'
            )
        if origin is not None and origin.partition('://')[2] != host:
            raise ForbiddenError('without tokens the service answers no pages of other sites')


def token_of(who: str, peer: str) -> str | None:
    """The id of the token by which somebody was admitted; None without one."""
    return who if who != peer else None


def _host(header: str) -> str:
    """The host of a header `Host`."""
    if header.startswith('['):
        return header[1:].partition(']')[0]
    return header.partition(':')[0]
