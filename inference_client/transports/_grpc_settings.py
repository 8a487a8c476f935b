"""What the blocking and the asynchronous gRPC transport share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import grpc
from google.protobuf.message import DecodeError

from .._spec import Capabilities
from .._tls import client_pair, trusted
from .._wire.jina_pb2 import EndpointsProto
from .._wire.status import rate_limited, seconds_of, token_refused
from ..errors import (
    ConfigurationError,
    InferenceError,
    ModelNotFoundError,
    ProtocolError,
    RequestTimeoutError,
    RequestTooLargeError,
    ServerError,
    no_answer,
    unreachable,
)
from .base import TransportOptions, check_query, split_url

UNARY = '/jina.JinaSingleDataRequestRPC/process_single_data'  # served by gateways and Deployments alike
CALL = '/jina.JinaRPC/Call'  # a stream of requests
DISCOVERY = '/jina.JinaDiscoverEndpointsRPC/endpoint_discovery'  # of our own gateway it tells tasks
DRY_RUN = '/jina.JinaGatewayDryRunRPC/dry_run'  # served by gateways alone
HEALTH = '/grpc.health.v1.Health/Check'
SERVING, NOT_SERVING = b'\x08\x01', b'\x08\x02'  # HealthCheckResponse(status=...)
FAILED = b'\x08\x01'  # how StatusProto(code=ERROR) begins

MODELS = '/models/'  # in a URL's path, before the name of a model
SHAPES = 'grpc://host:port or grpc://host:port/models/NAME'
RETRY_AFTER = 'retry-after'  # in trailing metadata: the seconds that a server of ours asks to wait
LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)  # the latter: closed meanwhile
REMOVED = 'Stream removed'  # with status UNKNOWN: what gRPC says of a connection that it cannot make sense of
LONGEST = 2**31 - 1  # milliseconds
CHANNEL_OPTIONS = (
    ('grpc.max_send_message_length', -1),
    ('grpc.max_receive_message_length', -1),
    ('grpc.initial_reconnect_backoff_ms', 100),  # an attempt to connect takes that long at least
    ('grpc.use_local_subchannel_pool', 1),  # else a new channel would share a connection that went wrong
)


@dataclass(frozen=True)
class Address:
    """Where a server is, as gRPC names it: `host:port` or `unix:/path`; `secure` means TLS.

    `model` is sent as metadata, for gRPC has no paths: which one of several that a server hosts, percent-encoded.
    """

    target: str
    secure: bool = False
    model: str | None = None

    @classmethod
    def of(cls, url: str) -> Address:
        """The address of a `grpc://` or `grpcs://` URL, the path of which may be `/models/NAME`.

        Raises:
            ConfigurationError: the URL names no host, or has a path or a query that gRPC would not send.
        """
        parts = split_url(url)
        check_query(parts, SHAPES)
        secure = parts.scheme == 'grpcs'
        host = f'[{parts.hostname}]' if ':' in (parts.hostname or '') else parts.hostname
        return cls(f'{host}:{parts.port or (443 if secure else 80)}', secure, _model(parts.path))


def _model(path: str) -> str | None:
    """The model that a path names, percent-encoded, as metadata must be ASCII."""
    if path in ('', '/'):
        return None
    name = path[len(MODELS) :].rstrip('/')
    if not path.startswith(MODELS) or not name:
        raise ConfigurationError(f'the path {path!r} of the URL names no model: expected {SHAPES}')
    return quote(unquote(name), safe='')


def channel_arguments(address: Address, options: TransportOptions, seconds: float) -> tuple[Any, ...]:
    """Arguments of `insecure_channel`, or of `secure_channel` where the address is secure.

    Args:
        address: of the server.
        options: of the transport.
        seconds: for the connection to be made.
    """
    limit = min(math.ceil(seconds * 1000), LONGEST)
    settings = [
        *CHANNEL_OPTIONS,
        ('grpc.enable_http_proxy', int(options.trust_env)),
        ('grpc.min_reconnect_backoff_ms', limit),  # how long an attempt to connect may take, despite its name
        ('grpc.dns_ares_query_timeout', limit),
    ]
    if not address.secure:
        return address.target, settings
    certificates = trusted(options.ca_file)
    roots = Path(certificates).read_bytes() if certificates else None
    return address.target, grpc.ssl_channel_credentials(roots, *client_pair(options)), settings


def metadata_of(address: Address, options: TransportOptions) -> Any:
    """Metadata of each call."""
    token = (('authorization', options.token),) if options.token else ()
    return (*token, ('model', address.model)) if address.model else token


def is_ready(answer: bytes) -> bool:
    """Whether the answer to `DRY_RUN` says that the models answer."""
    return not answer.startswith(FAILED)


def capabilities(answer: bytes) -> Capabilities:
    """What the answer to `DISCOVERY` tells: the endpoints that a server has, of which `/default` takes any other."""
    try:
        endpoints = EndpointsProto.FromString(answer).endpoints
    except DecodeError as error:
        raise ProtocolError('the answer is not a Jina message: is this the address of a Jina server?') from error
    tasks = frozenset(one[1:] for one in endpoints if one.startswith('/'))
    return Capabilities(tasks if tasks and 'default' not in tasks else None)


def says_nothing(error: Any) -> bool:
    """Whether a server cannot answer `DISCOVERY`: it has no such method, or one that fails, as stock Jina's does."""
    code = error.code()
    return code is grpc.StatusCode.UNIMPLEMENTED or (
        code is grpc.StatusCode.UNKNOWN and REMOVED not in (error.details() or '')
    )


def translated(error: Any, timeout: float) -> InferenceError:
    """The error of this package for one of gRPC's."""
    code, details = error.code(), error.details() or 'no reason given'
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return no_answer(timeout) if timeout else RequestTimeoutError(f'the server took too long ({details})')
    if code is grpc.StatusCode.NOT_FOUND:
        return ModelNotFoundError(f'the server does not know the model ({details})')
    seconds = _retry_after(error)
    if seconds is not None and code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return rate_limited(f'({details})', seconds)
    if seconds is not None:
        return ServerError(f'the model is not up ({details})', transient=True, busy=True, retry_after=seconds)
    if code in LOST or details.startswith(REMOVED):
        return unreachable(details)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return ProtocolError(f'the server has no Jina gRPC service ({details}); check the address')
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return token_refused(details)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and 'larger than max' in details:
        return RequestTooLargeError(f'a message is larger than the server takes ({details}); send smaller documents')
    busy = code is grpc.StatusCode.RESOURCE_EXHAUSTED
    return ServerError(f'gRPC status {code.name}: {details}', transient=busy, busy=busy)


def _retry_after(error: Any) -> float | None:
    """The seconds that a server asked to wait, if it did."""
    for key, value in error.trailing_metadata() or ():
        if key == RETRY_AFTER:
            return seconds_of(str(value))
    return None
