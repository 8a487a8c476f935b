"""Takes a secret out of what is recorded, wherever it stands, and leaves as many asterisks."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message


def hide(value: Any, secret: str | None) -> Any:
    """A string, bytes, or dicts and lists of these, without the secret."""
    if not secret:
        return value
    if isinstance(value, dict):
        return {hide(key, secret): hide(inner, secret) for key, inner in value.items()}
    if isinstance(value, list):
        return [hide(inner, secret) for inner in value]
    if isinstance(value, bytes):
        return value.replace(secret.encode(), b'*' * len(secret.encode()))
    return value.replace(secret, '*' * len(secret)) if isinstance(value, str) else value


def hide_in_message(message: Any, secret: str | None) -> None:
    """Change the strings and bytes of a message; its own bytes may hold the secret by chance, lengths and all."""
    for field, value in message.ListFields() if secret else ():
        if isinstance(value, (str, bytes)):
            setattr(message, field.name, hide(value, secret))
        elif isinstance(value, Message):
            hide_in_message(value, secret)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            _hide_in_map(value, secret)
        elif field.message_type is not None:
            for inner in value:
                hide_in_message(inner, secret)


def _hide_in_map(values: Any, secret: str | None) -> None:
    for key in list(values):
        hide_in_message(values[key], secret)
        hidden = hide(key, secret)
        if hidden != key:
            values[hidden].CopyFrom(values[key])
            del values[key]
