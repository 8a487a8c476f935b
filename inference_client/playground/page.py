"""The page, with gradio, and the server that shows it to this machine alone."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from typing import Any, Callable, MutableMapping

from .._registered import missing_extra
from ..errors import ConfigurationError
from ..server.gate import Gate
from ..server.refusals import ForbiddenError
from .session import Answer, Playground

HOST = '127.0.0.1'
UPLOAD = '16mb'  # of one file
LONGEST = 20_000  # characters of a text
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; base-uri 'self'; "
    "frame-ancestors 'none'"
)
"""What the page may load: nothing of another host, whatever gradio or data would have it load."""
DESCRIPTION = '/openapi.json'
"""What gradio describes its API at, whatever the application that it is mounted in says."""
WORDS = 'Every answer comes with code that does the same, beside the files that were uploaded.'


def serve(playground: Playground, port: int, say: Callable[[str], Any]) -> None:
    """Show the page until SIGINT or SIGTERM.

    Args:
        playground: what runs the tasks.
        port: where to listen on 127.0.0.1; 0 is any that is free.
        say: is told the page's address once it can be opened.

    Raises:
        ConfigurationError: the port is taken.
        MissingExtraError: gradio is not installed.
    """
    signal.signal(signal.SIGTERM, _end)  # which the server passes on when it has ended, as it does SIGINT
    with tempfile.TemporaryDirectory(prefix='inference-client-') as uploads, _listening(port) as listener:
        # Before it is imported, for parts of it ask the environment alone:
        os.environ.update(GRADIO_ANALYTICS_ENABLED='False', GRADIO_TEMP_DIR=uploads)
        try:
            import gradio
            import uvicorn
            from fastapi import FastAPI
        except ImportError as error:
            raise missing_extra('the playground', error) from error
        app = gradio.mount_gradio_app(
            FastAPI(openapi_url=None),
            page(playground),
            '/',
            server_name=HOST,
            server_port=listener.getsockname()[1],
            footer_links=[],
            run_history=False,
            max_file_size=UPLOAD,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            theme=gradio.themes.Base(font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace']),
        )
        say(f'http://{HOST}:{listener.getsockname()[1]}')
        config = uvicorn.Config(Guard(app), log_level='warning', timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])


def _end(*_: object) -> None:
    """Leave what is to be cleaned up, where the signal alone would end the process."""
    sys.exit(0)


def page(playground: Playground) -> Any:
    """The page: a model, and a tab for each task."""
    import gradio as gr

    with gr.Blocks(title='Inference Client', analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        gr.Markdown('# Inference Client')
        model = gr.Textbox(
            label='Model', placeholder=playground.default, info='A name or a URL', max_length=LONGEST, max_lines=1
        )
        about = gr.HTML(elem_id='about')
        tabs = _Tabs(gr, playground, model)
        for name, build in (('Encode', tabs.encode), ('Rank', tabs.rank), ('Caption', tabs.caption), ('Ask', tabs.vqa)):
            with gr.Tab(name):
                build()
        gr.Markdown(WORDS)
        for event in (blocks.load, model.submit, model.blur):
            event(playground.describe, model, about, api_visibility='private', show_progress='hidden')
    return blocks


class _Tabs:
    """The four tabs: inputs to the left, what came of them to the right."""

    def __init__(self, gr: Any, playground: Playground, model: Any) -> None:
        self._gr = gr
        self._playground = playground
        self._model = model

    def encode(self) -> None:
        gr = self._gr
        kept = gr.State(('', ()))
        with gr.Row():
            with gr.Column():
                image, texts = self._image('encode'), self._text('Texts, one a line', 'encode-texts', lines=3)
                button = gr.Button('Encode', variant='primary', elem_id='encode-run')
            outputs = self._outputs('encode')

        def run(*given: Any) -> tuple[Any, ...]:
            answer = self._playground.encode(*given)
            return (*_shown(answer), answer.kept)

        self._on([button.click, texts.submit], run, [self._model, image, texts, kept], [*outputs, kept])

    def rank(self) -> None:
        gr = self._gr
        with gr.Row():
            with gr.Column():
                image = self._image('rank', 'Reference: an image')
                text = self._text('Or a text', 'rank-text')
                candidates = self._text('Candidates, one a line', 'rank-candidates', lines=4)
                files = gr.File(
                    label='Candidates that are images', file_count='multiple', file_types=['image'],
                    elem_id='rank-files', height=120,
                )  # fmt: skip
                button = gr.Button('Rank', variant='primary', elem_id='rank-run')
            outputs = self._outputs('rank')
        inputs = [self._model, image, text, candidates, files]
        events = [button.click, text.submit, candidates.submit]
        self._on(events, lambda *given: _shown(self._playground.rank(*given)), inputs, outputs)

    def caption(self) -> None:
        gr = self._gr
        with gr.Row():
            with gr.Column():
                image = self._image('caption')
                button = gr.Button('Caption', variant='primary', elem_id='caption-run')
            outputs = self._outputs('caption')
        inputs = [self._model, image]
        self._on([button.click], lambda *given: _shown(self._playground.caption(*given)), inputs, outputs)

    def vqa(self) -> None:
        gr = self._gr
        with gr.Row():
            with gr.Column():
                image, question = self._image('vqa'), self._text('Question', 'vqa-question')
                button = gr.Button('Ask', variant='primary', elem_id='vqa-run')
            outputs = self._outputs('vqa')
        inputs = [self._model, image, question]
        events = [button.click, question.submit]
        self._on(events, lambda *given: _shown(self._playground.vqa(*given)), inputs, outputs)

    def _image(self, task: str, label: str = 'Image') -> Any:
        made = self._gr.Image(
            label=label, type='filepath', sources=['upload', 'clipboard'], image_mode=None, height=240,
            elem_id=f'{task}-image',
        )  # fmt: skip
        made.preprocess = _path_of  # gradio's own opens the file, and says nothing of use about a damaged one
        return made

    def _text(self, label: str, name: str, lines: int = 1) -> Any:
        return self._gr.Textbox(label=label, lines=lines, max_lines=max(lines, 1), max_length=LONGEST, elem_id=name)

    def _outputs(self, task: str) -> list[Any]:
        gr = self._gr
        with gr.Column():
            html = gr.HTML(elem_id=f'{task}-result', min_height=120)
            codes = [
                gr.Code(
                    label=language.capitalize(), language=language, interactive=False, wrap_lines=True, lines=1,
                    elem_id=f'{task}-{language}',
                )
                for language in ('python', 'shell')
            ]  # fmt: skip
        return [html, *codes]

    def _on(self, events: list[Any], run: Callable[..., Any], inputs: list[Any], outputs: list[Any]) -> None:
        for event in events:
            event(run, inputs, outputs, api_visibility='private')


def _shown(answer: Answer) -> tuple[str, str, str]:
    return answer.html, answer.python, answer.shell


def _path_of(payload: Any) -> str | None:
    """Where gradio has put an upload; it takes no other path from a page."""
    return None if payload is None else str(payload.path)


def _listening(port: int) -> socket.socket:
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise ConfigurationError(f'cannot listen on {HOST}:{port} ({why}): give another --port') from error
    return listener


class Guard:
    """Keeps pages of other sites out, which a browser would let ask servers of this machine, and other hosts' content.

    Args:
        app: an ASGI application.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._gate = Gate()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope['type'] == 'lifespan':
            await self._app(scope, receive, send)
            return
        headers = {name.decode('latin-1'): value.decode('latin-1') for name, value in scope['headers']}
        try:
            self._gate.check_origin(headers.get('host', ''), headers.get('origin'))
        except ForbiddenError as error:
            await _refuse(scope, send, 403, str(error))
            return
        if scope['path'].rstrip('/').endswith(DESCRIPTION):
            await _refuse(scope, send, 404, 'no such page')
            return

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message['type'] == 'http.response.start':
                message['headers'] = [*message['headers'], (b'content-security-policy', POLICY.encode())]
            await send(message)

        await self._app(scope, receive, answer)


async def _refuse(scope: MutableMapping[str, Any], send: Any, status: int, why: str) -> None:
    if scope['type'] == 'websocket':
        await send({'type': 'websocket.close', 'code': 1008, 'reason': why})
        return
    await send({'type': 'http.response.start', 'status': status, 'headers': [(b'content-type', b'text/plain')]})
    await send({'type': 'http.response.body', 'body': why.encode()})
