"""Models on Unix domain sockets: the transport `unix://`, and a bridge from a socket to a TCP server."""

from __future__ import annotations

from inference_client import hookimpl


@hookimpl
def inference_client_transports() -> dict[str, str]:
    return {'unix': 'inference_client_unix.transport:UnixTransport'}


@hookimpl
def inference_client_commands() -> dict[str, str]:
    return {'unix-bridge': 'inference_client_unix.command:unix_bridge'}
