"""Where the files of a CLIP in ONNX are: in a directory, or on a hub that has them, or fails."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import threading
import time

import numpy as np
import onnx
import pytest
from huggingface_hub import constants, hf_hub_download

from inference_client import Client, ConfigurationError
from inference_client.engines.onnx import OnnxClipEngine

FILES = ['preprocessor_config.json', 'text_model.onnx', 'tokenizer.json', 'tokenizer_config.json', 'vision_model.onnx']


@pytest.fixture
def expected(onnx_files):
    """What all copies of the files make of a text."""
    return OnnxClipEngine(f'onnx:{onnx_files}').encode_text(['a cat'], {})


def check(name, expected):
    assert np.array_equal(OnnxClipEngine(name).encode_text(['a cat'], {}), expected)


def told(name):
    """What the error says that a request to the model is."""
    with pytest.raises(ConfigurationError) as caught:
        Client().get_model(name).encode(text='a')
    return str(caught.value)


def test_sides_may_be_in_a_folder_and_have_variants(onnx_files, expected, tmp_path):
    inner = tmp_path / 'model' / 'onnx'
    shutil.copytree(onnx_files, inner.parent)
    inner.mkdir()
    for side in ('text_model', 'vision_model'):
        (inner.parent / f'{side}.onnx').rename(inner / f'{side}_mine.onnx')
    check(f'onnx:{inner.parent}?variant=mine', expected)


@pytest.fixture
def two_files_a_side(onnx_files, tmp_path):
    """A directory in which both sides keep their weights in files of their own."""
    folder = shutil.copytree(onnx_files, tmp_path / 'two')
    for side in ('text_model.onnx', 'vision_model.onnx'):
        model = onnx.load(folder / side)
        (folder / side).unlink()
        onnx.save(model, folder / side, save_as_external_data=True, location=f'{side}_data', size_threshold=256)
    return folder


def test_weights_may_be_in_a_file_of_their_own(two_files_a_side, expected):
    check(f'onnx:{two_files_a_side}', expected)
    (two_files_a_side / 'text_model.onnx_data').unlink()
    assert 'text_model.onnx keeps weights in another file' in told(f'onnx:{two_files_a_side}')


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('onnx:/no/such', "has no preprocessor_config.json: expected it in '/no/such'"),
        ('onnx:', 'has no preprocessor_config.json'),
        ('onnx:/no/such?variant=../x', "no variant '../x'"),
        ('onnx:/no/such?device=cpu', "the option 'device': known are variant"),
        ('onnx:a/b..c', "'onnx:a/b..c' names neither a directory nor a repository of the model hub"),
        ('onnx:a/b.git', "'onnx:a/b.git' names neither a directory nor a repository of the model hub"),
    ],
)
def test_a_name_of_no_use_is_a_sentence(name, words):
    assert words in told(name)


# -- a repository of the hub


class Hub:
    """A server of the repository `somebody/clip`.

    Args:
        folder: with the files; the hub has sides in `onnx/`.
    """

    def __init__(self, folder):
        self.files = {f'onnx/{path.name}' if path.suffix == '.onnx' else path.name: path for path in folder.iterdir()}
        self.fetched = []
        self.looked_for = 0  # times that somebody asked whether the hub is there
        self.failure = None  # status and code of all answers about files

    def answer(self, path):
        """Status, headers and content of an answer."""
        repository, _, file = path.partition('/resolve/main/')
        self.looked_for += path == '/'
        if self.failure and file:
            status, code = self.failure
            return status, {'X-Error-Code': code} if code else {}, b''
        if repository != '/somebody/clip':
            return 404, {'X-Error-Code': 'RepoNotFound'}, b''
        commit = {'X-Repo-Commit': 40 * 'a'}
        if file not in self.files:
            return 404, {'X-Error-Code': 'EntryNotFound', **commit}, b''
        content = self.files[file].read_bytes()
        return 200, {'ETag': f'"{hashlib.sha256(content).hexdigest()}"', **commit}, content


def handler(hub):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer()

        def do_GET(self):
            content = self.answer()
            if content:
                hub.fetched.append(self.path.rpartition('/')[2])
                self.wfile.write(content)

        def answer(self):
            status, headers, content = hub.answer(self.path)
            self.send_response(status)
            for header in {**headers, 'Content-Length': str(len(content))}.items():
                self.send_header(*header)
            self.end_headers()
            return content

        def log_message(self, *_):
            """Say nothing."""

    return Handler


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(constants, 'HF_HUB_DISABLE_XET', True)


@pytest.fixture
def hub(onnx_files, empty_cache, monkeypatch):
    found = Hub(onnx_files)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler(found)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(constants, 'ENDPOINT', f'http://127.0.0.1:{server.server_port}')
        monkeypatch.setattr(
            constants, 'HUGGINGFACE_CO_URL_TEMPLATE', constants.ENDPOINT + '/{repo_id}/resolve/{revision}/{filename}'
        )
        yield found
        server.shutdown()
        thread.join()


@pytest.mark.parametrize('place', ['onnx/', ''])
def test_a_repository_is_fetched_once(hub, expected, place, monkeypatch):
    hub.files = {name.replace('onnx/', place): path for name, path in hub.files.items()}
    check('onnx:somebody/clip', expected)
    assert sorted(hub.fetched) == FILES
    assert hub.looked_for == 1
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    check('onnx:somebody/clip', expected)
    assert len(hub.fetched) == len(FILES)


@pytest.mark.parametrize('there', [True, False])
def test_the_configuration_is_fetched_where_a_tokenizer_has_no_length(hub, expected, there, monkeypatch, tmp_path):
    hub.files['tokenizer_config.json'] = tmp_path / 'settings.json'
    hub.files['tokenizer_config.json'].write_text('{}')
    if not there:
        del hub.files['config.json']
    check('onnx:somebody/clip', expected)
    assert ('config.json' in hub.fetched) == there
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    check('onnx:somebody/clip', expected)


def test_weights_in_a_file_of_their_own_must_be_in_a_directory(hub, two_files_a_side):
    hub.files = Hub(two_files_a_side).files
    said = told('onnx:somebody/clip')
    assert 'text_model.onnx keeps weights in another file' in said
    assert 'put all files of the model into one directory' in said


@pytest.mark.parametrize('name', ['onnx:somebody/clip?variant=lost', 'onnx:nobody/clip'])
def test_what_the_hub_does_not_have_is_told(hub, name):
    assert 'the model hub has none that it would give: check the name' in told(name)


@pytest.mark.parametrize(
    ('status', 'code', 'words'),
    [
        (404, '', 'the model hub has none that it would give'),  # as of a mirror that knows no codes
        (404, 'RevisionNotFound', 'the model hub has none that it would give'),
        (401, 'RepoNotFound', 'the model hub has none that it would give'),
        (403, 'GatedRepo', 'your login to the hub if the repository is private or gated'),
        (401, '', 'the model hub answered 401: check your login'),
        (403, '', 'the model hub answered 403: check your login'),
        (429, '', 'the model hub answered 429: try again later'),
        (500, '', 'the model hub answered 500: try again later'),
        (503, '', 'the model hub answered 503: try again later'),
    ],
)
def test_a_hub_that_fails_is_told_apart(hub, status, code, words, monkeypatch):
    monkeypatch.setattr(time, 'sleep', lambda seconds: None)  # the hub's client retries for 23 seconds
    hub.failure = status, code
    said = told('onnx:somebody/clip')
    assert "'onnx:somebody/clip' needs preprocessor_config.json of somebody/clip, and " in said
    assert words in said


def test_one_command_fetches_all_for_a_machine_without_the_hub(hub, expected, monkeypatch):
    with monkeypatch.context() as offline:
        offline.setattr(constants, 'HF_HUB_OFFLINE', True)
        said = told('onnx:somebody/clip')
    assert "ask for 'onnx:/directory'" in said
    command = said.partition('"hf download somebody/clip ')[2].partition('"')[0]
    for file in hub.files.keys() & set(command.split()):
        hf_hub_download('somebody/clip', file)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    check('onnx:somebody/clip', expected)
