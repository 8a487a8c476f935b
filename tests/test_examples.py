"""The example plugins, built and installed by pip in a fresh environment, and used as anybody would use them."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from isolated import NOT_PASSED_ON, write_distribution
from pages import blocks
from PIL import Image

from inference_client.server.process import served

pytestmark = pytest.mark.once(reason='they install packages in environments of their own, by pip')

EXAMPLES = Path(__file__).resolve().parents[1] / 'examples'
NAMES = [
    'inference-client-callable',
    'inference-client-generation',
    'inference-client-unix',
    'inference-client-upscale',
]
WIRES = ['grpc', 'http', 'ws']
TIMEOUT = 300  # seconds; pip fetches the build backend

MY_MODEL = '''
"""A model of plain functions, announced as one by its distribution."""


def encode_text(texts, scale=1.0):
    return [[scale * len(text), 1.0] for text in texts]


def caption_image(images):
    return [f'{image.shape[1]} x {image.shape[0]} pixels' for image in images]
'''


PATHS = """
    import sys
    from pathlib import Path
    import inference_client
    print(*[path for path in sys.path if path.endswith('-packages')], sep='\\n')
    print(Path(inference_client.__file__).parents[1])
"""


class Environment:
    """A fresh environment with the examples in it; all else comes from that of an interpreter."""

    def __init__(self, interpreter, folder):
        self._folder = folder
        self.run([interpreter, '-m', 'venv', folder / 'venv'])
        self.python = folder / 'venv' / 'bin' / 'python'
        (site,) = (folder / 'venv').glob('**/site-packages')
        (site / 'others.pth').write_text(self.run([interpreter, '-c', unindented(PATHS)]))
        wheels = folder / 'wheels'
        self.pip('wheel', '--no-deps', '--wheel-dir', wheels, *(EXAMPLES / name for name in NAMES))
        self.pip('install', '--no-index', '--find-links', wheels, *NAMES)  # fails where a dependency is not there
        write_distribution(
            site, 'my-model', {'my-engine': 'my_model'}, group='inference_client_callable', my_model=MY_MODEL
        )

    def pip(self, *arguments):
        self.run([self.python, '-m', 'pip', '--disable-pip-version-check', '--quiet', *arguments])

    def code(self, code, *arguments):
        """What Python code prints, any warning being an error."""
        return self.run([self.python, '-W', 'error', '-c', unindented(code), *arguments])

    def command(self, *arguments, code=0):
        """What `inference-client` prints: its results, or where it fails, its error."""
        return self.run([self.python, '-m', 'inference_client', *arguments], code=code)

    def run(self, command, code=0, cwd=None, **environment):
        done = subprocess.run(
            [str(part) for part in command],
            cwd=str(cwd or self._folder),
            env={**self.variables, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding='utf-8',
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr if code else done.stdout

    @property
    def variables(self):
        left_out = (*NOT_PASSED_ON, 'PYTHONPATH', 'PIP_REQUIRE_VIRTUALENV')
        variables = {key: value for key, value in os.environ.items() if key not in left_out}
        return {**variables, 'PYTHONIOENCODING': 'utf-8', 'JINA_HUB_ROOT': str(self._folder / 'no-login')}


def size_of(photo):
    with Image.open(photo) as image:
        return image.size


def unindented(code):
    return f'if True:\n{code}'


@pytest.fixture(scope='session')
def installed(tmp_path_factory):
    """The examples beside this interpreter's packages."""
    return Environment(sys.executable, tmp_path_factory.mktemp('installed'))


@pytest.fixture(scope='session')
def upscaling(installed, server_python):
    """URLs of our server with the engine `upscale`."""
    with served('upscale', python=str(installed.python)) as urls:
        yield urls


@pytest.fixture(scope='session')
def calling(installed, server_python):
    """URLs of our server with the engine of functions."""
    with served('my-engine', python=str(installed.python)) as urls:
        yield urls


@pytest.fixture
def bridge(installed, tmp_path):
    """Starts bridges; gives the URL of the socket file."""
    with contextlib.ExitStack() as stack:

        def start(url):
            path = tmp_path / f'{len(list(tmp_path.iterdir()))}.sock'
            command = [str(installed.python), '-m', 'inference_client', 'unix-bridge', str(path), url]
            process = stack.enter_context(
                subprocess.Popen(command, env=installed.variables, stdout=subprocess.PIPE, text=True)
            )
            killer = threading.Timer(TIMEOUT, process.kill)
            killer.start()
            stack.callback(killer.cancel)
            stack.callback(process.terminate)
            line = process.stdout.readline()
            assert line == f'unix://{path} is ready; Ctrl-C stops it\n'
            return line.split()[0]

        yield start


@pytest.mark.parametrize('name', NAMES)
def test_its_own_tests_pass(installed, name, tmp_path):
    """Away from its source, so that the installed package is what is tested."""
    shutil.copytree(EXAMPLES / name / 'tests', tmp_path / 'tests')
    shutil.copy(EXAMPLES / name / 'pyproject.toml', tmp_path)
    told = installed.run([installed.python, '-m', 'pytest', '-q', '-p', 'no:cacheprovider'], cwd=tmp_path)
    assert ' passed' in told


def test_what_is_installed_is_listed(installed):
    lines = [line.split() for line in installed.command('plugins').splitlines()]
    for kind, name, distribution in [
        ('task', 'upscale', 'upscale'),
        ('engine', 'upscale', 'upscale'),
        ('command', 'upscale', 'upscale'),
        ('task', 'generate', 'generation'),
        ('task', 'text_to_image', 'generation'),
        ('task', 'image_to_image', 'generation'),
        ('transport', 'unix', 'unix'),
        ('command', 'unix-bridge', 'unix'),
        ('engine', 'my-engine', 'callable'),
    ]:
        assert [kind, name, f'inference-client-{distribution}', '1.0'] in lines
    assert not any('failed' in line for line in lines)


# -- their READMEs


def readme(name):
    return (EXAMPLES / f'inference-client-{name}' / 'README.md').read_text(encoding='utf-8')


def run_commands(installed, page, folder, **environment):
    """Run the commands of a page that end by themselves; gives what they print."""
    lines = [line for line in ''.join(blocks(page, 'bash')).splitlines() if line.startswith('inference-client ')]
    ending = [line for line in lines if ' serve ' not in line and ' unix-bridge ' not in line]
    assert ending
    commands = [[installed.python, '-m', 'inference_client', *shlex.split(line)[1:]] for line in ending]
    return ''.join(installed.run(command, cwd=folder, **environment) for command in commands)


def test_the_readme_of_upscale(installed, photo, tmp_path):
    for name in ('photo.jpg', 'a.png', 'b.png'):
        with Image.open(photo) as image:
            image.save(tmp_path / name)
    (code,) = blocks(readme('upscale'), 'python')
    shown = code + "print(response[0].blob[:4], response[0].tags['width'])\n"
    told = run_commands(installed, readme('upscale'), tmp_path)
    assert (json.loads(told)['width'], size_of(tmp_path / 'large.png')[0]) == (1600, 1600)
    assert installed.run([installed.python, '-c', shown], cwd=tmp_path) == "b'\\x89PNG' 1600\n"
    assert size_of(tmp_path / 'large.jpg')[0] == 1600
    assert sorted(path.name for path in (tmp_path / 'large').iterdir()) == ['000000.jpeg', '000001.jpeg']


def test_the_readme_of_unix(installed, bridge, plain_flow):
    (code,) = blocks(readme('unix'), 'python')
    code = code.replace('unix:///run/user/1000/model.sock', bridge(plain_flow['grpc']))
    shown = code.replace('model.encode', 'response = model.encode') + 'print(len(response[0].embedding))\n'
    assert installed.run([installed.python, '-c', shown]) == '4\n'


def test_the_readme_of_callable(installed, tmp_path):
    page = readme('callable')
    (tmp_path / 'my_model.py').write_text(blocks(page, 'python')[0])
    (line,) = (line for line in ''.join(blocks(page, 'bash')).splitlines() if line.startswith('export '))
    environment = dict(pair.split('=', 1) for pair in shlex.split(line)[1:])
    told = run_commands(installed, page, tmp_path, **environment)
    assert json.loads(told)['embedding'] == [22, 4]


def test_the_readme_of_generation(installed, plain_flow, photo, tmp_path):
    shutil.copy(photo, tmp_path / 'photo.jpg')
    code = ''.join(blocks(readme('generation'), 'python')).replace('grpc://127.0.0.1:51000', plain_flow['grpc'])
    code = code.replace("='a cat on the moon'", "='a cat on the moon', sizes=[1, 2]").replace(
        "('a cat')", "('a cat', sizes=[1])"
    )
    answer, *rest = installed.run([installed.python, '-c', code], cwd=tmp_path).splitlines()
    assert json.loads(answer)['tags'] == {'prompt': 'Once upon a time'}
    assert rest == ['2 True', '(4,)', 'str bytes']


# -- generation

GENERATION = """
    import json, sys
    from inference_client import Client

    with Client(trust_env=False) as client:
        model = client.get_model(sys.argv[1])
        for one in model.generate(prompt=['a', 'b'], batch_size=1, max_new_tokens=5, do_sample=True):
            print(one.tags['response'])
        (drawn,) = model.text_to_image(prompt='a cat', parameters={'sizes': ['small', 'large']})
        print(*(one.blob.decode() for one in drawn.matches))
        (changed,) = model.image_to_image(image=sys.argv[2], prompt='a dog', negative_prompt='a cat')
        print(changed.matches[0].blob == open(sys.argv[2], 'rb').read(), json.dumps(changed.matches[0].tags['seen']))
"""


@pytest.mark.parametrize('wire', WIRES)
def test_generation_on_a_jina_flow(installed, plain_flow, wire, photo):
    told = installed.run([installed.python, '-c', unindented(GENERATION), plain_flow[wire], photo]).splitlines()
    parameters = {'max_new_tokens': 5, 'do_sample': True}
    assert [json.loads(line) for line in told[:2]] == [
        {'tags': {'prompt': prompt}, 'parameters': parameters} for prompt in ('a', 'b')
    ]
    assert told[2] == 'a cat small a cat large'
    matched, seen = told[3].split(' ', 1)
    assert (matched, json.loads(seen)) == ('True', {'prompt': 'a dog', 'negative_prompt': 'a cat'})


# -- upscale

UPSCALE = """
    import io, sys
    from inference_client import Client, InputError
    from PIL import Image

    with Client(trust_env=False) as client:
        model = client.get_model(sys.argv[1])
        images = [sys.argv[2], Image.new('RGB', (9, 6))]
        answered = model.upscale(image=images, scale='-4:300', quality=50, batch_size=1)
        for document in answered:
            print(Image.open(io.BytesIO(document.blob)).format, document.tags['width'], document.tags['height'])
        try:
            model.upscale(image=sys.argv[2], scale='99999:1')
        except InputError as error:
            print(error)
"""


def check_upscale(installed, url, photo):
    width, height = size_of(photo)
    first, second, refused = installed.code(UPSCALE, url, photo).splitlines()
    assert first == f'JPEG {round(width / height * 300 / 4) * 4} 300'
    assert second == 'JPEG 452 300'
    assert refused == f'upscale on {url}: 99999 x 1 pixels are too many: a side may have 16,384; scale less'


def test_upscale_in_this_process(installed, photo):
    check_upscale(installed, 'local://upscale', photo)


@pytest.mark.parametrize('wire', WIRES)
def test_upscale_on_our_server(installed, upscaling, wire, photo):
    check_upscale(installed, upscaling[wire], photo)


@pytest.mark.parametrize('wire', ['local', 'grpc'])
def test_upscale_on_the_command_line(installed, request, wire, photo, tmp_path):
    url = 'local://upscale' if wire == 'local' else request.getfixturevalue('upscaling')[wire]
    large = tmp_path / 'large.png'
    told = installed.command('upscale', photo, '--scale', '900:-1', '--output', large, '--model', url)
    width, height = size_of(photo)
    assert json.loads(told) == {'input': photo, 'width': 900, 'height': round(900 * height / width)}
    assert size_of(large) == (900, round(900 * height / width))


def test_upscale_on_a_server_without_it(installed, plain_flow, photo):
    code = """
        import sys
        from inference_client import Client, UnsupportedTaskError
        try:
            Client(trust_env=False).get_model(sys.argv[1]).upscale(image=sys.argv[2], scale='8:8')
        except UnsupportedTaskError as error:
            print(error)
    """
    assert 'the answer has no image in .blob' in installed.code(code, plain_flow['grpc'], photo)


# -- unix


def test_a_jina_server_behind_the_bridge(installed, bridge, plain_flow):
    url = bridge(plain_flow['grpc'])
    code = """
        import sys
        from inference_client import Client, ServerError
        with Client(trust_env=False) as client:
            model = client.get_model(sys.argv[1])
            answered = model.encode(text=(f'{n:05d}' * 1000 for n in range(1000)), batch_size=16)
            print(len(answered), {document.embedding[0] for document in answered})
            print([chr(int(number)) for number in answered[123].embedding[1:]])
            try:
                model.encode(text='raise')
            except ServerError as error:
                print(error)
    """
    count, letters, error = installed.code(code, url).splitlines()
    assert count.startswith('1000 {') and '5000.0' in count
    assert letters == "['0', '0', '1']"
    assert error == f'encode on {url}: the model raised ValueError: the executor does not like this'


def test_the_command_line_through_a_socket_file(installed, bridge, plain_flow):
    url = bridge(plain_flow['grpc'])
    told = json.loads(installed.command('encode', 'hello', '--model', url))
    assert told == {'input': 'hello', 'embedding': [5, *map(ord, 'hel')]}


def test_upscale_through_a_socket_file(installed, bridge, upscaling, photo):
    check_upscale(installed, bridge(upscaling['grpc']), photo)


# -- callable

CALL = """
    import sys
    from inference_client import Client
    with Client(trust_env=False) as client:
        model = client.get_model(sys.argv[1])
        print([document.embedding.tolist() for document in model.encode(text=['a', 'abc'], scale=2)])
        print(model.caption(image=sys.argv[2], strict=True)[0].tags['response'])
        print(model.rank(reference='a', candidates=['b', 'abcdef'])[0].matches[:, 'text'])
"""


def check_call(installed, url, photo):
    embeddings, caption, ranking = installed.code(CALL, url, photo).splitlines()
    assert embeddings == '[[2.0, 1.0], [6.0, 1.0]]'
    assert caption == '{} x {} pixels'.format(*size_of(photo))
    assert ranking == "['b', 'abcdef']"


def test_functions_in_this_process(installed, photo):
    check_call(installed, 'local://my-engine', photo)


@pytest.mark.parametrize('wire', WIRES)
def test_functions_on_our_server(installed, calling, wire, photo):
    check_call(installed, calling[wire], photo)


def test_functions_on_the_command_line(installed):
    told = installed.command('encode', 'hello', '--model', 'local://my-engine', '--parameter', 'scale=2')
    assert json.loads(told) == {'input': 'hello', 'embedding': [10, 1]}
    refused = installed.command('encode', 'hello', '--model', 'local://my-engine', '--parameter', 'x=2', code=1)
    assert "encode_text has no parameter 'x': it has scale" in refused
