"""The model hub: what was fetched from it before, and whether it can be reached, asked before a loader waits for it."""

from __future__ import annotations

from typing import Iterable, Sequence

import requests

from ..errors import ConfigurationError

TIMEOUT = 5.0  # seconds: to connect, and for an answer of any kind; loaders retry for minutes
NOT_FOUND = 404
REFUSALS = (401, 403)


def reachable() -> bool:
    """Ask the hub, or the mirror that `HF_ENDPOINT` names, for anything; `HF_HUB_OFFLINE` says no at once."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        requests.head(constants.ENDPOINT, timeout=TIMEOUT, allow_redirects=False)
    except requests.RequestException:
        return False
    return True


def cached(repository: str, files: Iterable[str]) -> str:
    """Path of the first of the files that was fetched before; empty if there is none."""
    from huggingface_hub import try_to_load_from_cache

    paths = (try_to_load_from_cache(repository, file) for file in files)
    return next((path for path in paths if isinstance(path, str)), '')


def known_absent(repository: str, files: Iterable[str]) -> bool:
    """Whether the hub said before that the repository has none of the files."""
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(repository, file) for file in files]
    return not any(one is None or isinstance(one, str) for one in found)


def check_repository(name: str, repository: str) -> None:
    """See that a repository may have this name.

    Raises:
        ConfigurationError: the hub has none of such a name.
    """
    from huggingface_hub.errors import HFValidationError

    try:
        cached(repository, ['config.json'])  # which looks at the name first
    except HFValidationError as error:
        raise ConfigurationError(
            f'{name!r} names neither a directory nor a repository of the model hub ({error}): expected one of both'
        ) from error


def fetched(name: str, repository: str, files: Iterable[str]) -> str:
    """Path of the first of the files that a repository has, fetched now; empty if it has none of them.

    Args:
        name: of the model.
        repository: on the hub, which was reachable.
        files: in the repository.

    Raises:
        ConfigurationError: the hub gives no such repository, or fails.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    for file in files:
        try:
            return str(hf_hub_download(repository, file))
        except (RepositoryNotFoundError, RevisionNotFoundError) as error:
            raise absent(name, repository, file) from error
        except (EntryNotFoundError, HfHubHTTPError) as error:  # the former also if the hub failed
            status = _status(error)
            if status != NOT_FOUND:
                raise _failure(name, repository, file, status) from error
    return ''


def absent(name: str, repository: str, file: str) -> ConfigurationError:
    """The error for what the hub does not have, or does not give to everybody."""
    return ConfigurationError(
        f'{name!r} needs {file} of {repository}, and the model hub has none that it would give: check the name, and '
        'your login to the hub if the repository is private or gated'
    )


def out_of_reach(name: str, repository: str, files: Sequence[str], instead: str) -> ConfigurationError:
    """The error for what is neither here nor to be had.

    Args:
        name: of the model.
        repository: on the hub.
        files: in the repository, which are needed; none for all of them.
        instead: how to name the model when the files are in a directory.
    """
    what = files[0] if len(files) == 1 else 'the files'
    command = ' '.join(('hf download', repository, *files))
    return ConfigurationError(
        f'{name!r} needs {what} of {repository}, not in {_cache()}, and the model hub cannot be '
        f'reached: run "{command}" on a machine that reaches it and copy its cache to that directory; or put the files '
        f'anywhere and ask for {instead}'
    )


def _failure(name: str, repository: str, file: str, status: int | None) -> ConfigurationError:
    said = 'gave no answer that is of use' if status is None else f'answered {status}'
    advice = 'check your login to it (hf auth whoami)' if status in REFUSALS else 'try again later'
    return ConfigurationError(f'{name!r} needs {file} of {repository}, and the model hub {said}: {advice}')


def _status(error: BaseException) -> int | None:
    """Which status the hub answered with, where it did."""
    responses = (getattr(one, 'response', None) for one in (error, error.__cause__))
    return next((int(response.status_code) for response in responses if response is not None), None)


def _cache() -> str:
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)
