"""What runs the service in containers: a Dockerfile, manifests of Kubernetes, a file for Docker Compose.

They run this package's service, and not what Jina's exporters write: those run Jina's own gateway, which knows no names
of models, no directory and no tokens.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from .settings import Settings

USER = 10001  # of the process in the container; no account of a base image has it
PAUSE = 5  # seconds in which a cluster learns that a pod ends
GRACE = PAUSE + 25  # seconds to end in, beside those that answers under way get
ALIVE, READY = '/', '/ready'  # what the service tells without a token
TOKENS = '/tokens'  # a folder and not a file, for a file that is replaced stays the old one in a container
TOKEN_FILE = f'{TOKENS}/tokens.json'
CONFIG, CONFIG_NAME = '/config', 'service.toml'
CONFIG_FILE = f'{CONFIG}/{CONFIG_NAME}'


@dataclass(frozen=True)
class Hosting:
    """What is to run.

    Attributes:
        name: of the service, and of all that belongs to it.
        image: of the container.
        arguments: of `inference-client serve`.
        ports: by scheme (`grpc`, `http`, `ws`).
        extras: of this package, which the models need.
        drain: seconds that it gives to answers under way when it ends.
        pods: how many of them.
        cpu: cores that each asks for.
        memory: that each asks for, and may have.
        config: the text of the configuration, which is at `CONFIG_FILE` in the container; None: there is none.
    """

    name: str
    image: str
    arguments: Sequence[str]
    ports: Mapping[str, int]
    extras: Sequence[str] = ('local',)
    drain: int = Settings.drain
    pods: int = 1
    cpu: str = '1'
    memory: str = '1Gi'
    config: str | None = None


def dockerfile(hosting: Hosting) -> str:
    """How the image is built, from a wheel of this package beside the file."""
    extras = ','.join(dict.fromkeys(('server', *hosting.extras)))
    return f"""\
# Build it in this folder, which must also have the wheel of this package:
#   pip wheel --no-deps --wheel-dir . SOURCE && docker build --tag {hosting.image} .
FROM python:3.13-slim
COPY inference_client-*.whl /wheel/
RUN pip install --no-cache-dir "$(echo /wheel/inference_client-*.whl)[{extras}]" && rm -r /wheel
RUN useradd --uid {USER} --no-create-home inference
ENV HOME=/tmp PYTHONUNBUFFERED=1
USER {USER}:{USER}
EXPOSE {' '.join(str(port) for port in hosting.ports.values())}
ENTRYPOINT ["inference-client", "serve"]
"""


def kubernetes(hosting: Hosting) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """The manifests, by the name of their file."""
    configured = {} if hosting.config is None else {'config.yaml': [_config_map(hosting, hosting.config)]}
    return {
        **configured,
        'deployment.yaml': [_deployment(hosting)],
        'service.yaml': [_service(hosting)],
        'disruption.yaml': [_disruption(hosting)],
    }


def compose(hosting: Hosting) -> Mapping[str, Any]:
    """The file for Docker Compose, which has the configuration beside it as `CONFIG_NAME`.

    It publishes ports on this machine's loopback address alone.
    """
    probe = f'import urllib.request as r; r.urlopen("http://127.0.0.1:{hosting.ports["http"]}{READY}", timeout=5)'
    service = {
        'image': hosting.image,
        'build': '.',
        'command': list(hosting.arguments),
        'ports': [f'127.0.0.1:{port}:{port}' for port in hosting.ports.values()],
        'healthcheck': {'test': ['CMD', 'python', '-c', probe], 'interval': '10s', 'start_period': '120s'},
        'restart': 'unless-stopped',
        'stop_grace_period': f'{hosting.drain + GRACE}s',
        'init': True,
        'read_only': True,
        'tmpfs': ['/tmp'],
        'volumes': [f'.{TOKENS}:{TOKENS}:ro'],
        'cap_drop': ['ALL'],
        'security_opt': ['no-new-privileges:true'],
    }
    if hosting.config is None:
        return {'name': hosting.name, 'services': {hosting.name: service}}
    service = {**service, 'configs': [{'source': 'service', 'target': CONFIG_FILE}]}
    configs = {'service': {'file': f'./{CONFIG_NAME}'}}
    return {'name': hosting.name, 'services': {hosting.name: service}, 'configs': configs}


def _object(hosting: Hosting, version: str, kind: str, spec: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = {'name': hosting.name, 'labels': _labels(hosting)}
    return {'apiVersion': version, 'kind': kind, 'metadata': metadata, 'spec': spec}


def _labels(hosting: Hosting) -> Mapping[str, str]:
    return {'app.kubernetes.io/name': 'inference-client', 'app.kubernetes.io/instance': hosting.name}


def _config_map(hosting: Hosting, config: str) -> Mapping[str, Any]:
    metadata = {'name': f'{hosting.name}-config', 'labels': _labels(hosting)}
    return {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': metadata, 'data': {CONFIG_NAME: config}}


def _deployment(hosting: Hosting) -> Mapping[str, Any]:
    pod = {
        'automountServiceAccountToken': False,
        'terminationGracePeriodSeconds': hosting.drain + GRACE,
        'securityContext': {
            'runAsNonRoot': True,
            'runAsUser': USER,
            'fsGroup': USER,
            'seccompProfile': {'type': 'RuntimeDefault'},
        },
        'containers': [_container(hosting)],
        'volumes': [
            {'name': 'scratch', 'emptyDir': {}},
            {'name': 'tokens', 'secret': {'secretName': f'{hosting.name}-tokens', 'defaultMode': 0o440}},
            *[{'name': 'config', 'configMap': {'name': f'{hosting.name}-config'}}] * (hosting.config is not None),
        ],
    }
    marked: dict[str, Any] = {'labels': _labels(hosting)}
    if hosting.config is not None:  # so that pods are replaced when it changes
        marked['annotations'] = {'checksum/config': hashlib.sha256(hosting.config.encode()).hexdigest()}
    spec = {
        'replicas': hosting.pods,
        'selector': {'matchLabels': _labels(hosting)},
        'strategy': {'type': 'RollingUpdate', 'rollingUpdate': {'maxUnavailable': 0, 'maxSurge': 1}},
        'template': {'metadata': marked, 'spec': pod},
    }
    return _object(hosting, 'apps/v1', 'Deployment', spec)


def _container(hosting: Hosting) -> Mapping[str, Any]:
    return {
        'name': 'service',
        'image': hosting.image,
        'args': list(hosting.arguments),
        'ports': [{'name': scheme, 'containerPort': port} for scheme, port in hosting.ports.items()],
        'startupProbe': {**_probe(ALIVE), 'failureThreshold': 60},
        'livenessProbe': {**_probe(ALIVE), 'failureThreshold': 3},
        'readinessProbe': {**_probe(READY), 'failureThreshold': 1},
        'lifecycle': {'preStop': {'exec': {'command': ['sleep', str(PAUSE)]}}},
        'resources': {
            'requests': {'cpu': hosting.cpu, 'memory': hosting.memory},
            'limits': {'memory': hosting.memory},
        },
        'securityContext': {
            'allowPrivilegeEscalation': False,
            'readOnlyRootFilesystem': True,
            'capabilities': {'drop': ['ALL']},
        },
        'volumeMounts': [
            {'name': 'scratch', 'mountPath': '/tmp'},
            {'name': 'tokens', 'mountPath': TOKENS, 'readOnly': True},
            *[{'name': 'config', 'mountPath': CONFIG, 'readOnly': True}] * (hosting.config is not None),
        ],
    }


def _probe(path: str) -> Mapping[str, Any]:
    return {'httpGet': {'path': path, 'port': 'http'}, 'periodSeconds': 5, 'timeoutSeconds': 5}


def _service(hosting: Hosting) -> Mapping[str, Any]:
    ports = [
        {'name': scheme, 'port': port, 'targetPort': scheme, 'appProtocol': _application(scheme)}
        for scheme, port in hosting.ports.items()
    ]
    return _object(hosting, 'v1', 'Service', {'type': 'ClusterIP', 'selector': _labels(hosting), 'ports': ports})


def _application(scheme: str) -> str:
    """What proxies are told that a port speaks."""
    return {'grpc': 'kubernetes.io/h2c', 'ws': 'kubernetes.io/ws'}.get(scheme, scheme)


def _disruption(hosting: Hosting) -> Mapping[str, Any]:
    spec = {'maxUnavailable': 1, 'selector': {'matchLabels': _labels(hosting)}}
    return _object(hosting, 'policy/v1', 'PodDisruptionBudget', spec)
