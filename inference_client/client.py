"""The client: finds models."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ._config import resolve
from ._directory import find_model
from ._login import login_in_browser
from ._plugins import plugins
from ._spec import ModelSpec
from .errors import AuthenticationError, ConfigurationError, ModelNotFoundError
from .transports.base import TransportOptions

if TYPE_CHECKING:
    from .model import Model

EMBEDDED = 'local://embedded'


class Client:
    """Finds models by name or URL, and keeps them: asking again gives the same `Model`.

    Args:
        token: sent to the model directory and to the models. Without one, the environment variable
            `JINA_AUTH_TOKEN`, then the stored login of the Jina SDK.
        api_endpoint: URL of a model directory, such as `https://host/api/v1`, in which names are looked up.
            Without one, the environment variable `INFERENCE_API_ENDPOINT`; without that, names are those of
            engines in this process.
        ca_file: certificates (PEM) that secure servers are checked against, in place of the system's.
        trust_env: False leaves the environment and the stored login alone.

    Raises:
        ConfigurationError: a value is of no use.
    """

    def __init__(
        self,
        token: str | None = None,
        *,
        api_endpoint: str | None = None,
        ca_file: str | None = None,
        trust_env: bool = True,
    ) -> None:
        self._settings = resolve(token, api_endpoint, ca_file, trust_env)
        self._specs: dict[str, ModelSpec] = {}
        self._models: dict[tuple[str, str], Model] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        token = 'a token' if self._settings.token else 'no token'
        return f'<Client with {token}, api_endpoint={self._settings.api_endpoint!r}>'

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of all models."""
        with self._lock:
            models, self._models = list(self._models.values()), {}
        for model in models:
            model.close()

    def get_model(self, name: str | None = None, *, protocol: str | None = None) -> Model:
        """Find a model. It is connected to when it is first used.

        Args:
            name: a model's name, or the URL of its server: `grpc://`, `grpcs://`, `http://`, `https://`,
                `ws://`, `wss://`, `local://` or a plugin's. Without one, the embedded model, in this process.
            protocol: which of a named model's endpoints to use: `grpc`, `http` or `websocket` (`ws`).

        Raises:
            ModelNotFoundError: there is no model of that name.
            AuthenticationError: the directory refused the token, or wants one.
            ConfigurationError: the model has no such endpoint, or nothing is known of the URL's scheme.
        """
        if name is not None and not isinstance(name, str):
            raise ConfigurationError(f'the model is a {type(name).__name__}: expected its name or URL as a str')
        spec = self._spec(name or EMBEDDED)
        url = spec.endpoint(protocol)
        with self._lock:
            if (spec.name, url) not in self._models:
                self._models[spec.name, url] = self._bind(spec, url)
            return self._models[spec.name, url]

    def _bind(self, spec: ModelSpec, url: str) -> Model:
        from .model import Model

        scheme = url.partition('://')[0].lower()
        transport = plugins().get('transport', scheme)
        return Model(spec, transport(url, self._options()))

    def _options(self) -> TransportOptions:
        settings = self._settings
        return TransportOptions(settings.token, settings.ca_file, settings.trust_env)

    def _spec(self, name: str) -> ModelSpec:
        scheme, separator, rest = name.partition('://')
        if separator and scheme.lower() == 'local':
            return self._local_spec(rest)
        if separator:
            return ModelSpec.of_url(name)
        if not self._settings.api_endpoint:
            return self._local_spec(name)
        with self._lock:
            known = self._specs.get(name)
        if known is None:
            known = self._found(name)
            with self._lock:
                self._specs[name] = known
        return known

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

    def _local_spec(self, name: str) -> ModelSpec:
        if not plugins().has('engine', name):
            engines = ', '.join(one.name for one in plugins().listed('engine'))
            raise ModelNotFoundError(
                f'no model {name!r} in this process, which has {engines}: give the URL of a server, or set '
                'api_endpoint= (or INFERENCE_API_ENDPOINT) to the model directory that knows it'
            )
        from .engines.loader import engine_class

        return ModelSpec.of_url(f'local://{name}', engine_class(name).tasks)
