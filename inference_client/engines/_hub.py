"""The model hub: what was fetched from it before, and whether it can be reached, asked before a loader waits for it."""

from __future__ import annotations

from typing import Iterable

import requests

from ..errors import ConfigurationError

TIMEOUT = 5.0  # seconds: to connect, and for an answer of any kind; loaders retry for minutes


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


def fetched(name: str, repository: str, file: str, instead: str) -> str:
    """Path of a file of a repository, which is fetched unless it was before.

    Args:
        name: of the model.
        repository: on the hub.
        file: in the repository.
        instead: how to name the model when the files are in a directory.

    Raises:
        ConfigurationError: it is not here, and the hub does not have it, or cannot be reached.
    """
    here = cached(repository, [file])
    if here:
        return here
    if not reachable():
        raise out_of_reach(name, repository, file, instead)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    try:
        return str(hf_hub_download(repository, file))
    except (EntryNotFoundError, RepositoryNotFoundError) as error:
        raise ConfigurationError(
            f'{name!r} needs {file} of {repository}, and the model hub has none that it would give: check the name'
        ) from error


def out_of_reach(name: str, repository: str, file: str, instead: str) -> ConfigurationError:
    """The error for what is neither here nor to be had.

    Args:
        name: of the model.
        repository: on the hub.
        file: in the repository, which is needed; empty for all of them.
        instead: how to name the model when the files are in a directory.
    """
    command = ' '.join(filter(None, ('hf download', repository, file)))
    return ConfigurationError(
        f'{name!r} needs {file or "the files"} of {repository}, not in {_cache()}, and the model hub cannot be '
        f'reached: run "{command}" on a machine that reaches it and copy its cache to that directory; or put the files '
        f'anywhere and ask for {instead}'
    )


def _cache() -> str:
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)
