"""What blocking and asynchronous clients share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._config import resolve
from ._plugins import plugins
from ._policies import RETRY, TIMEOUTS, RetryPolicy, Timeouts
from ._spec import ModelSpec
from .errors import ConfigurationError, MissingExtraError, ModelNotFoundError, not_picklable
from .transports.base import TransportOptions

if TYPE_CHECKING:
    from .transports.base import Transport

EMBEDDED = 'local://embedded'
_ELSEWHERE = (
    'give the URL of a server, or set api_endpoint= (or INFERENCE_API_ENDPOINT) to the model directory that knows it'
)
M = TypeVar('M')


class BaseClient(Generic[M]):
    """Settings, what is known of models, and the models themselves."""

    def __init__(
        self,
        token: str | None = None,
        *,
        api_endpoint: str | None = None,
        ca_file: str | None = None,
        trust_env: bool = True,
        timeouts: Timeouts = TIMEOUTS,
        retry: RetryPolicy = RETRY,
        client_cert: str | None = None,
        client_key: str | None = None,
        allow_insecure_token: bool = False,
    ) -> None:
        for name, value, kind in (('timeouts', timeouts, Timeouts), ('retry', retry, RetryPolicy)):
            if not isinstance(value, kind):
                raise ConfigurationError(f'{name} is a {type(value).__name__}: expected {kind.__name__}(...)')
        self._settings = resolve(token, api_endpoint, ca_file, trust_env, client_cert, client_key, allow_insecure_token)
        self._timeouts = timeouts
        self._retry = retry
        self._specs: dict[str, ModelSpec] = {}
        self._models: dict[tuple[str, str], M] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        token = 'a token' if self._settings.token else 'no token'
        return f'<{type(self).__name__} with {token}, api_endpoint={self._settings.api_endpoint!r}>'

    def __reduce__(self) -> Any:
        raise not_picklable(self)

    def _bind(self, spec: ModelSpec, url: str) -> M:
        raise NotImplementedError

    def _transport(self, url: str) -> type[Transport]:
        found: type[Transport] = plugins().get('transport', url.partition('://')[0].lower())
        return found

    def _model(self, spec: ModelSpec, protocol: str | None) -> M:
        url = spec.endpoint(protocol)
        with self._lock:
            if (spec.name, url) not in self._models:
                self._models[spec.name, url] = self._bind(spec, url)
            return self._models[spec.name, url]

    def _take_models(self) -> list[M]:
        with self._lock:
            models, self._models = list(self._models.values()), {}
        return models

    def _options(self, spec: ModelSpec) -> TransportOptions:
        """For a model's transport. The token of a login goes to no server but those that the directory names."""
        settings = self._settings
        return TransportOptions(
            token=None if settings.stored and not spec.named else settings.token,
            ca_file=settings.ca_file,
            trust_env=settings.trust_env,
            client_cert=settings.client_cert,
            client_key=settings.client_key,
            allow_insecure_token=settings.allow_insecure_token,
            token_given=settings.token_given,
        )

    def _known_spec(self, name: Any) -> ModelSpec | None:
        """What is known of a model without asking the directory; None where that must be asked."""
        if name is not None and not isinstance(name, str):
            raise ConfigurationError(f'the model is a {type(name).__name__}: expected its name or URL as a str')
        name = name or EMBEDDED
        scheme, separator, rest = name.partition('://')
        if separator and scheme.lower() == 'local':
            return self._local_spec(rest)
        if separator:
            return ModelSpec.of_url(name)
        if not self._settings.api_endpoint:
            return self._local_spec(name)
        with self._lock:
            return self._specs.get(name)

    def _remember(self, name: str, spec: ModelSpec) -> ModelSpec:
        with self._lock:
            return self._specs.setdefault(name, spec)

    def _local_spec(self, name: str) -> ModelSpec:
        if not plugins().has('engine', name):
            from .engines._names import hint

            engines = ', '.join(one.name for one in plugins().listed('engine'))
            raise ModelNotFoundError(
                f'no model {name!r} in this process, which has {engines}{hint(name)}: {_ELSEWHERE}'
            )
        from .engines.loader import engine_class

        try:
            return ModelSpec.of_url(f'local://{name}', engine_class(name).tasks)
        except MissingExtraError as error:
            if not plugins().find('engine', name).is_pattern:
                raise
            raise ModelNotFoundError(f'no model {name!r} in this process: {error}; or {_ELSEWHERE}') from error

    def _local_specs(self) -> list[ModelSpec]:
        return [self._local_spec(one.name) for one in plugins().listed('engine') if not one.is_pattern]
