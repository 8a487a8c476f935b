"""The client: finds models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._base_client import BaseClient
from ._directory import find_model
from ._login import login_in_browser
from .errors import AuthenticationError

if TYPE_CHECKING:
    from ._spec import ModelSpec
    from .model import Model


class Client(BaseClient['Model']):
    """Finds models by name or URL, and keeps them: asking again gives the same `Model`.

    Args:
        token: sent to the model directory and to the models. Without one, the environment variable
            `JINA_AUTH_TOKEN`, then the stored login of the Jina SDK.
        api_endpoint: URL of a model directory, such as `https://host/api/v1`, in which names are looked up.
            Without one, the environment variable `INFERENCE_API_ENDPOINT`; without that, names are those of
            engines in this process.
        ca_file: certificates (PEM) that secure servers are checked against, in place of the system's.
        trust_env: False leaves the environment and the stored login alone.
        timeouts: how long to wait, unless a call says otherwise.
        retry: how often to try, unless a call says otherwise.

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
            spec = self._remember(name, self._found(name))
        assert spec is not None
        return self._model(spec, protocol)

    def _bind(self, spec: ModelSpec, url: str) -> Model:
        from .model import Model

        return Model(spec, self._transport(url)(url, self._options()), self._timeouts, self._retry)

    def _found(self, name: str) -> ModelSpec:
        try:
            return find_model(name, self._settings)
        except AuthenticationError:
            if self._settings.token:
                raise
            settings = login_in_browser(self._settings)
            if settings is None:
                raise
            self._settings = settings
            return find_model(name, self._settings)
