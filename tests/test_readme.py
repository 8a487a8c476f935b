"""The README runs: its Python in one session, its command lines one by one; and the original's examples."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from directory import model_directory
from pages import ROOT, blocks

README = (ROOT / 'README.md').read_text(encoding='utf-8')


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with the photos of the examples."""
    for photo in (ROOT / 'inference_client' / 'data' / 'photos').iterdir():
        shutil.copy(photo, tmp_path)
    shutil.copy(tmp_path / 'rocket.jpg', tmp_path / 'singapore.jpg')
    shutil.copytree(ROOT / 'inference_client' / 'data', tmp_path / 'inference_client' / 'data')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hosted(server):
    """A model directory that knows the models of the examples, all on our own server."""
    endpoints = {'grpc': server['grpc'], 'http': server['http'], 'websocket': server['ws']}
    models = {name: {'endpoints': endpoints} for name in ('ViT-B-32::openai', 'Salesforce/blip2-opt-2.7b')}
    models['<inference model name>'] = {'endpoints': endpoints, 'tasks': ['encode', 'rank', 'caption', 'vqa']}
    with model_directory(models, token='<your token>') as directory:
        yield directory


def run(code, namespace):
    """Run a block and give what it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, 'README.md', 'exec'), namespace)
    return out.getvalue()


@pytest.mark.filterwarnings('ignore:unclosed file:ResourceWarning')  # open(...).read(), as everyone writes it
def test_python_of_the_readme(folder, hosted, server):
    pytest.importorskip('onnxruntime')
    namespace, printed = {}, []
    for code in blocks(README, 'python'):
        code = code.replace('grpc://127.0.0.1:51000', server['grpc']).replace('https://host/api/v1', hosted.url)
        code = code.replace('http://127.0.0.1:51001', server['http'])
        printed.append(run(code, namespace))
    output = ''.join(printed)
    assert printed[0] == '(384,)\na cat\na photo of an Egyptian Mau\na cat\n'
    assert re.search(r'^a photo of a cat \S+ \S+\na cup of coffee .*\na photo of a rocket ', output, re.MULTILINE)
    assert 'a photo of a cat\na photo of a rocket\n' in output
    assert output.count('a cat\n') >= 2  # is it a cat or a dog?
    (failed,) = (one for one in printed if 'encode on local://embedded: no such image file' in one)
    assert failed.endswith('1\n')
    assert printed[-3].endswith('(384,)\n(384,)\n')
    assert printed[-2] == '(8,)\n2\n'  # a fake model
    assert namespace['clip'].url == server['grpc']
    assert namespace['blip2'].url == server['http']


def shell_lines():
    return ''.join(blocks(README, 'bash')).replace('\\\n', ' ').splitlines()


def commands(*names):
    """Lines that run one of these commands of ours."""
    return [line for line in shell_lines() if line.split()[:1] == ['inference-client'] and line.split()[1] in names]


def run_line(line, **options):
    command = [sys.executable, '-m', 'inference_client', *shlex.split(line, comments=True)[1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.mark.once(reason='the page shows the same everywhere')
@pytest.mark.parametrize('line', commands('encode', 'rank', 'caption', 'vqa'))
def test_commands_of_the_readme(folder, line):
    pytest.importorskip('onnxruntime')
    line, fails, _ = line.partition(' || true')
    done = run_line(line)
    assert done.returncode == bool(fails), done.stderr
    assert ('"error": ' in done.stdout) == bool(fails)
    if '--output' in line:
        assert np.load(folder / 'embeddings.npy').shape == (2, 384)
    else:
        assert '"input": ' in done.stdout


def test_the_login_of_the_readme(monkeypatch):
    pytest.importorskip('click')
    monkeypatch.setenv('PYTHON_KEYRING_BACKEND', 'keyring.backends.fail.Keyring')
    with model_directory({}, token='<your token>') as directory:
        login, logout = (line.replace('https://host/api/v1', directory.url) for line in commands('login', 'logout'))
        assert 'stored the token' in run_line(login, input='<your token>').stderr
        assert run_line('inference-client encode hi --model nope').returncode == 1
        assert run_line(logout).returncode == 0
    assert {asked.authorization for asked in directory.asked} == {'<your token>'}


@pytest.mark.once(reason='the page shows the same everywhere')
def test_curl_of_the_readme(server):
    if shutil.which('curl') is None:
        pytest.skip('needs curl')
    (line,) = (line for line in shell_lines() if line.startswith('curl'))
    command = shlex.split(line.replace('http://127.0.0.1:51001', server['http']))
    done = subprocess.run([*command, '-s'], capture_output=True, text=True, timeout=60, check=True)
    assert '"embedding":[' in done.stdout


@pytest.fixture
def picture(monkeypatch):
    """The script that draws the terminal of the README."""
    pytest.importorskip('onnxruntime')
    monkeypatch.syspath_prepend(str(ROOT / 'scripts'))
    return importlib.import_module('picture')


def test_the_picture_shows_what_the_demo_prints_and_colour_says_nothing_more(picture):
    drawn = picture.PICTURE.read_text(encoding='utf-8')
    coloured, plain = picture.printed(), picture.printed(NO_COLOR='1')
    assert re.search('\x1b\\[[0-9;]*3[0-9]m', coloured)
    assert not re.search('\x1b\\[[0-9;]*3[0-9]m', plain)
    assert not picture.differs(picture.drawn(coloured), picture.drawn(plain))
    assert not picture.differs(picture.drawn(coloured), drawn)
    slower = re.sub(r'(\d+\.\d) │', r'77\1 │', drawn).replace('━┓', '━━━┓')
    assert not picture.differs(slower, drawn)
    assert picture.differs(picture.drawn(coloured), drawn.replace('a cup of coffee', 'a cup of tea'))
    assert picture.differs(picture.drawn(coloured), drawn.replace('+0.52', '+0.42'))
    assert 'http' not in drawn.replace('http://www.w3.org/2000/svg', '')


def test_pictures_have_texts_for_those_who_do_not_see_them():
    pages = [ROOT / 'README.md', *(ROOT / 'docs').rglob('*.md')]
    found = [text for page in pages for text in re.findall(r'!\[([^]]*)\]\(', page.read_text(encoding='utf-8'))]
    assert found
    assert all(len(text) > 10 for text in found), found


def test_files_that_the_readme_names_are_there():
    for target in re.findall(r'\]\((?!http)([^)#]+)\)', README) + re.findall(r'`(benchmarks/[^`]+)`', README):
        assert (ROOT / target).exists(), target


SEED = [
    (
        """
from inference_client import Client

# Initialize client with valid token
client = Client(token='<your token>')
""",
        '',
    ),
    (
        """
from inference_client import Client

# Initialize client
inference_client = Client()

# Connect to CLIP model
clip_model = inference_client.get_model('ViT-B-32::openai')
clip_embed = clip_model.encode(text='hello world')[0].embedding

# Connect to BLIP2 model
blip2_model = inference_client.get_model('Salesforce/blip2-opt-2.7b')
blip2_embed = blip2_model.encode(text='hello jina')[0].embedding
""",
        '',
    ),
    (
        """
# Initialize client
inference_client = Client()

# Connect to CLIP model
model = inference_client.get_model('<inference model name>')

# Encode the documents
response = model.encode(text='hello world')

# Access the embeddings
print(response[0].embedding)
""",
        r'\[ *[-0-9.e+]+ ',
    ),
    (
        """
# Encode image URL
response = model.encode(image='singapore.jpg')

# Access the embedding
print(response[0].embedding)

# Encode image binary data
image_bytes = open('singapore.jpg', 'rb').read()
response = model.encode(image=image_bytes)

# Access the embedding
print(response[0].embedding)

# Encode image tensor data
from PIL import Image
from numpy import asarray

image_bytes = Image.open('singapore.jpg')
image_tensor = asarray(image_bytes)
response = model.encode(image=image_tensor)

# Access the embedding
print(response[0].embedding)
""",
        r'(?s)\[.*\]\n\[.*\]\n\[.*\]\n$',
    ),
    (
        """
from docarray import Document, DocumentArray

# Create a DocumentArray with two documents
docs = DocumentArray([Document(text='hello world'), Document(uri='singapore.jpg')])

# Encode the documents
response = model.encode(docs=docs)

# Access the embeddings
for doc in response:
    print(doc.embedding)
""",
        r'(?s)\[.*\]\n\[.*\]\n$',
    ),
    (
        """
# Initialize model
model = Client().get_model('<inference model name>')

reference = 'singapore.jpg'
candidates = [
    'a colorful photo of nature',
    'a photo of blue scenery',
    'a black and white photo of a cat',
]
response = model.rank(reference=reference, candidates=candidates)

# Access the matches
for match in response[0].matches:
    print(match.text)
""",
        r'(a [a-z ]+\n){3}$',
    ),
    (
        """
# Create a DocumentArray with a single document and some candidate matches
docs = DocumentArray(
    [
        Document(
            uri='singapore.jpg',
            matches=DocumentArray(
                [
                    Document(text='a colorful photo of nature'),
                    Document(text='a photo of blue scenery'),
                    Document(text='a black and white photo of a cat'),
                ]
            ),
        ),
    ]
)

# Rank the documents
response = model.rank(docs=docs)

# Access the matches
for match in response[0].matches:
    print(match.text)
""",
        r'(a [a-z ]+\n){3}$',
    ),
    (
        """
response = model.caption(image='singapore.jpg')

# Access the captions
print(response[0].tags['response'])
""",
        'a photo ',
    ),
    (
        """
# Create a DocumentArray with a single image document
docs = DocumentArray([Document(uri='singapore.jpg')])

# Caption the documents
response = model.caption(docs=docs)

# Access the captions
for doc in response:
    print(doc.tags['response'])
""",
        'a photo ',
    ),
    (
        """
image = 'singapore.jpg'
question = 'Question: What is this photo about? Answer:'

response = model.vqa(image=image, question=question)

# Access the answers
print(response[0].tags['response'])
""",
        r'\w+',
    ),
    (
        """
# Create a DocumentArray with one document
docs = DocumentArray(
    [
        Document(
            uri='singapore.jpg',
            tags={'prompt': 'Question: What is this photo about? Answer:'},
        )
    ]
)

# VQA the documents
response = model.vqa(docs=docs)

# Access the answers
for doc in response:
    print(doc.tags['response'])
""",
        r'\w+',
    ),
]


@pytest.mark.filterwarnings('ignore:unclosed file:ResourceWarning')
def test_examples_of_the_original(folder, hosted, monkeypatch):
    """As the original's README has them, but for its `for match in not response[0]:`.

    Only the environment says where the models are.
    """
    monkeypatch.setenv('INFERENCE_API_ENDPOINT', hosted.url)
    monkeypatch.setenv('JINA_AUTH_TOKEN', '<your token>')
    namespace = {}
    for code, expected in SEED:
        printed = run(code, namespace)
        assert re.match(expected or '$', printed), (code, printed)
    assert namespace['clip_embed'].shape == namespace['blip2_embed'].shape == (384,)
