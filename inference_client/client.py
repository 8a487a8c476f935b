"""The client: finds models."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Callable, TypeVar

from ._again import again
from ._base_client import BaseClient
from ._directory import find_model, list_models
from ._login import login_in_browser
from .errors import AuthenticationError

if TYPE_CHECKING:
    from ._config import Settings
    from ._spec import ModelSpec
    from .model import Model

R = TypeVar('R')


class Client(BaseClient['Model']):
    """Finds models by name or URL, and keeps them: asking again gives the same `Model`.

    Args:
        token: sent to the model directory and to the models. Without one, the environment variable
            `JINA_AUTH_TOKEN`, then what `inference-client login` stored for the directory, then the login of the
            Jina SDK. A stored one goes to the directory and the models that it names, and to nobody else.
        api_endpoint: URL of a model directory, such as `https://host/api/v1`, in which names are looked up; that
            path is meant where there is none. Without one, the environment variable `INFERENCE_API_ENDPOINT`, then
            the directory that was logged in to last; without that, names are those of engines in this process.
        ca_file: certificates (PEM) that secure servers are checked against, in place of the system's.
        trust_env: False leaves the environment and the stored login alone.
        timeouts: how long to wait, unless a call says otherwise.
        retry: how often to try, unless a call says otherwise.
        client_cert: certificate (PEM) that is shown to secure servers that ask for one.
        client_key: its private key (PEM, not encrypted), unless that is in the same file.
        allow_insecure_token: True lets the token travel over plain `grpc`, `http` and `ws` to other machines.

    Raises:
        ConfigurationError: a value is of no use.
    """

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of all models."""
        for model in self._take_models():
            model.close()

    def get_model(self, name: str | None = None, *, protocol: str | None = None) -> Model:
        """Find a model. It is connected to when it is first used.

        Args:
            name: a model's name, or the URL of its server: `grpc://`, `grpcs://`, `http://`, `https://`,
                `ws://`, `wss://`, `local://`, one of docs/servers.md such as `openai+http://`, or a plugin's.
                Without one, the embedded model, in this process.
            protocol: which of a named model's endpoints to use: `grpc`, `http` or `websocket` (`ws`).

        Raises:
            ModelNotFoundError: there is no model of that name.
            AuthenticationError: the directory refused the token, or wants one.
            ConfigurationError: the model has no such endpoint, or nothing is known of the URL's scheme.
        """
        spec = self._known_spec(name)
        if spec is None and name is not None:
            spec = self._remember(name, self._asked(partial(find_model, name)))
        assert spec is not None
        return self._model(spec, protocol)

    def list_models(self) -> list[ModelSpec]:
        """What there is to get by name: the models of the directory, or without one the engines of this process.

        Returns:
            Name, tasks, status and endpoints of each.

        Raises:
            AuthenticationError: the directory refused the token, or wants one.
            TransportError: it cannot be reached, or has no list.
        """
        return self._asked(list_models) if self._settings.api_endpoint else self._local_specs()

    def _bind(self, spec: ModelSpec, url: str) -> Model:
        from .model import Model

        return Model(spec, self._transport(url)(url, self._options(spec)), self._timeouts, self._retry)

    def _asked(self, ask: Callable[[Settings, float], R]) -> R:
        """What the directory answers, after a login in the browser if it wants one."""

        def ask_again() -> R:
            return again(partial(ask, self._settings), self._retry, self._timeouts.total)

        try:
            return ask_again()
        except AuthenticationError:
            if self._settings.token:
                raise
            settings = login_in_browser(self._settings)
            if settings is None:
                raise
            self._settings = settings
            return ask_again()
