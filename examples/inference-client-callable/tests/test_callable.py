"""Functions as models: what they get, what they may give, and how they are named."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from docarray import Document, DocumentArray
from inference_client_callable import engine
from inference_client_callable.register import VARIABLE, engine_named, registered

from inference_client import ConfigurationError, Engine, InputError, Request, ServerError, UnsupportedTaskError
from inference_client.engines.handler import handle

SOURCE = """
import numpy as np


def encode_text(texts, *, scale=1.0):
    return scale * np.array([[len(text), len(text.split())] for text in texts])


def caption_image(images):
    return [f'{image.shape[1]} x {image.shape[0]} pixels' for image in images]


class Model:
    def __init__(self, answer):
        self._answer = answer

    def answer(self, images, prompts):
        return [f'{self._answer} to {prompt}' for prompt in prompts]


class holder:
    model = Model('yes')


nothing = object()
"""
PIXELS = np.zeros((3, 5, 3), np.uint8)


@pytest.fixture
def named(tmp_path, monkeypatch):
    """The name of a module that the variable names, as a model and by an object in it."""
    name = f'model_{tmp_path.name}'.replace('-', '_')
    (tmp_path / f'{name}.py').write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(VARIABLE, f' plain={name}, held={name}:holder.model,nothing={name}:nothing,lost=no_such_module,')
    yield name
    sys.modules.pop(name, None)


def run(functions, task, documents, **parameters):
    return engine(**functions)().run(task, documents, parameters)


def announce(folder, distribution, entry_points):
    """Put the metadata of a distribution into a directory, as pip would."""
    information = folder / f'{distribution}-1.0.dist-info'
    information.mkdir(parents=True)
    (information / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n')
    (information / 'entry_points.txt').write_text(f'[inference_client_callable]\n{entry_points}\n')


# -- engines


def test_a_class_of_engines_that_says_what_it_can_do():
    made = engine(encode_text=len, answer=len)
    assert issubclass(made, Engine)
    assert made.tasks == {'encode', 'rank', 'vqa'}
    assert engine(caption_image=len).tasks == {'caption'}


def test_texts_and_images_are_passed_as_lists():
    seen = []

    def note(values):
        seen.append(values)
        return [[1.0, 2.0]] * len(values)

    documents = [Document(text='a'), Document(tensor=PIXELS), Document(text='b')]
    answered = run({'encode_text': note, 'encode_image': note}, 'encode', documents)
    texts, images = seen
    assert texts == ['a', 'b']
    assert type(images) is list
    assert images[0].shape == PIXELS.shape
    assert all(document.embedding.dtype == np.float32 for document in answered)


def test_captions_and_answers():
    captioned = run({'caption_image': lambda images: ('x' for _ in images)}, 'caption', [Document(tensor=PIXELS)])
    assert captioned[0].tags['response'] == 'x'
    asked = Document(tensor=PIXELS, tags={'prompt': 'Question: ? Answer:'})
    assert run({'answer': lambda images, prompts: prompts}, 'vqa', [asked])[0].tags['response'] == 'Question: ? Answer:'


def test_parameters_go_to_the_functions_that_name_them():
    def scaled(texts, *, scale):
        return [[scale]] * len(texts)

    def anything(texts, **parameters):
        return [[parameters['a'] + parameters['b']]] * len(texts)

    assert run({'encode_text': scaled}, 'encode', [Document(text='a')], scale=3.0)[0].embedding == [3]
    assert run({'encode_text': anything}, 'encode', [Document(text='a')], a=1, b=2)[0].embedding == [3]
    with pytest.raises(InputError, match=r"encode_text has no parameter 'scael': it has scale"):
        run({'encode_text': scaled}, 'encode', [Document(text='a')], scael=3.0)
    with pytest.raises(InputError, match='it has none'):  # also not the one that holds the texts
        run({'encode_text': lambda texts: [[1]]}, 'encode', [Document(text='a')], texts=['b'])


@pytest.mark.parametrize(
    ('name', 'given'),
    [
        ('encode_text', [1.0]),
        ('encode_text', [[1.0], [2.0]]),
        ('encode_text', 'a'),
        ('encode_text', None),
        ('caption_image', 'a'),
        ('caption_image', []),
        ('caption_image', [1]),
        ('answer', ['a', 'b']),
    ],
)
def test_what_no_function_may_give(name, given):
    task = {'encode_text': 'encode', 'caption_image': 'caption', 'answer': 'vqa'}[name]
    document = Document(text='a') if task == 'encode' else Document(tensor=PIXELS, tags={'prompt': 'x'})
    with pytest.raises((TypeError, ValueError, ServerError)):
        run({name: lambda *_: given}, task, [document])


@pytest.mark.parametrize('functions', [{}, {'encode': len}, {'encode_text': 'len'}])
def test_what_is_no_engine(functions):
    with pytest.raises(ValueError, match='expected'):
        engine(**functions)


def test_content_that_it_has_no_function_for():
    with pytest.raises(NotImplementedError, match='encode_image'):
        run({'encode_text': len}, 'encode', [Document(tensor=PIXELS)])


# -- names


def test_the_variable_names_modules_and_objects(named):
    assert engine_named('plain').tasks == {'encode', 'rank', 'caption'}
    assert engine_named('held').tasks == {'vqa'}


def test_nothing_is_imported_before_its_model_is_asked_for(named):
    assert set(registered()) >= {'plain', 'held', 'nothing', 'lost'}
    assert named not in sys.modules


@pytest.mark.parametrize('name', ['nothing', 'lost'])
def test_a_name_that_leads_to_no_functions(named, name):
    with pytest.raises((ValueError, ImportError), match=r'expected functions|no_such_module'):
        engine_named(name)


@pytest.mark.parametrize('value', ['plain', '=a', 'plain=', 'plain=a b', 'a=b=c', 'plain=a:'])
def test_a_variable_that_cannot_be_read(monkeypatch, value):
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ConfigurationError, match='expected name=module'):
        registered()


def test_a_distribution_announces_its_model(named, tmp_path, monkeypatch):
    announce(tmp_path / 'site', 'their-model', f'theirs = {named}')
    monkeypatch.syspath_prepend(str(tmp_path / 'site'))
    assert engine_named('theirs').tasks == {'encode', 'rank', 'caption'}
    monkeypatch.setenv(VARIABLE, f'theirs={named}:holder.model')  # goes before
    assert engine_named('theirs').tasks == {'vqa'}


def test_two_distributions_that_claim_one_name(named, tmp_path, monkeypatch):
    announce(tmp_path / 'site', 'one', f'same = {named}')
    announce(tmp_path / 'site', 'two', f'same = {named}:holder.model')
    monkeypatch.syspath_prepend(str(tmp_path / 'site'))
    with pytest.raises(ConfigurationError, match=f"'same' is claimed by {named} and {named}:holder.model"):
        engine_named('same')


# -- through the client


def test_a_client_finds_the_model(tmp_path):
    """In a process of its own: the registry asks for names once a process."""
    (tmp_path / 'my_model.py').write_text(SOURCE)
    code = """if True:
        from inference_client import Client
        model = Client(trust_env=False).get_model('local://my-engine')
        print(sorted(model.spec.tasks), model.encode(text='hello world', scale=2)[0].embedding)
    """
    environment = {**os.environ, VARIABLE: 'my-engine=my_model', 'PYTHONPATH': str(tmp_path)}
    done = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "['caption', 'encode', 'rank'] [22.  4.]\n", done.stderr


@pytest.mark.parametrize(
    ('task', 'document', 'error', 'message'),
    [
        ('encode', Document(text='a'), ServerError, 'the model raised KeyError'),
        ('caption', Document(tensor=PIXELS), ServerError, 'caption_image gave a str for 1 images: expected a list'),
        ('encode', Document(tensor=PIXELS), UnsupportedTaskError, 'encode_image'),
        ('vqa', Document(tensor=PIXELS), UnsupportedTaskError, 'it offers caption, encode, rank'),
    ],
)
def test_failures_reach_the_caller_as_errors_of_the_client(task, document, error, message):
    def fails(texts):
        raise KeyError('no')

    bad = engine(encode_text=fails, caption_image=lambda images: 'one')()
    with pytest.raises(error, match=message):
        handle(bad, Request(f'/{task}', DocumentArray([document])))
