"""What comes with the package, registered through the same hooks as any plugin."""

from __future__ import annotations

from .hookspecs import hookimpl


@hookimpl
def inference_client_tasks() -> dict[str, str]:
    return {
        'encode': 'inference_client.tasks.encode:EncodeTask',
        'rank': 'inference_client.tasks.rank:RankTask',
        'caption': 'inference_client.tasks.caption:CaptionTask',
        'vqa': 'inference_client.tasks.vqa:VqaTask',
    }


@hookimpl
def inference_client_transports() -> dict[str, str]:
    return {
        'grpc': 'inference_client.transports.grpc:GrpcTransport',
        'grpcs': 'inference_client.transports.grpc:GrpcTransport',
        'http': 'inference_client.transports.http:HttpTransport',
        'https': 'inference_client.transports.http:HttpTransport',
        'ws': 'inference_client.transports.websocket:WebSocketTransport',
        'wss': 'inference_client.transports.websocket:WebSocketTransport',
        'local': 'inference_client.transports.local:LocalTransport',
        'openai+http': 'inference_client.transports.rest.openai:OpenAITransport',
        'openai+https': 'inference_client.transports.rest.openai:OpenAITransport',
        'infinity+http': 'inference_client.transports.rest.infinity:InfinityTransport',
        'infinity+https': 'inference_client.transports.rest.infinity:InfinityTransport',
        'tei+http': 'inference_client.transports.rest.tei:TeiTransport',
        'tei+https': 'inference_client.transports.rest.tei:TeiTransport',
        'kserve+http': 'inference_client.transports.rest.kserve:KServeTransport',
        'kserve+https': 'inference_client.transports.rest.kserve:KServeTransport',
        'jinaai': 'inference_client.transports.rest.jinaai:JinaAITransport',
    }


@hookimpl
def inference_client_engines() -> dict[str, str]:
    return {
        'embedded': 'inference_client.engines.embedded:EmbeddedEngine',
        'echo': 'inference_client.testing.models:EchoEngine',  # what transports are tested with
        '*::*': 'inference_client.engines.clip:ClipEngine',  # architecture::weights
        'clip:*': 'inference_client.engines.clip:ClipEngine',
        'onnx:*': 'inference_client.engines.onnx:OnnxClipEngine',
        '*/*blip2*': 'inference_client.engines.blip2:Blip2Engine',  # a repository on the model hub
        'blip2:*': 'inference_client.engines.blip2:Blip2Engine',
    }


@hookimpl
def inference_client_commands() -> dict[str, str]:
    return {
        'encode': 'inference_client.cli.tasks:encode',
        'rank': 'inference_client.cli.tasks:rank',
        'caption': 'inference_client.cli.tasks:caption',
        'vqa': 'inference_client.cli.tasks:vqa',
        'login': 'inference_client.cli.login:login',
        'logout': 'inference_client.cli.login:logout',
        'demo': 'inference_client.cli.demo:demo',
        'playground': 'inference_client.cli.playground:playground',
        'serve': 'inference_client.cli.serve:serve',
        'export': 'inference_client.cli.export:export',
        'token': 'inference_client.cli.token:token',
        'models': 'inference_client.cli.info:models',
        'profile': 'inference_client.cli.profile:profile',
        'plugins': 'inference_client.cli.info:plugins_',
        'completion': 'inference_client.cli.completion:completion',
        'version': 'inference_client.cli.info:version',
    }
