"""Rankings and similarities as plots, and results in IPython: the page `docs/results.md` and what it promises."""

from __future__ import annotations

import shlex
import sys

import numpy as np
import pytest
from docarray import Document, DocumentArray
from hypothesis import given, settings
from hypothesis import strategies as st
from isolated import output_of
from pages import ROOT, blocks
from strategies import ODD_TEXTS
from terminals import on_terminal

import inference_client
from inference_client import Client, InputError, MissingExtraError, Results, plot

matplotlib = pytest.importorskip('matplotlib')
matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.offsetbox import AnnotationBbox  # noqa: E402


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close('all')


@pytest.fixture(scope='module')
def model():
    with Client() as client:
        yield client.get_model()


@pytest.fixture
def ranked(model, photo):
    second = photo.replace('chelsea.png', 'rocket.jpg')
    return model.rank(reference=photo, candidates=['a photo of a cat', 'it costs $5 or $6', second])


def labels(ticks):
    return [one.get_text() for one in ticks]


def images(axes):
    return [one for one in axes.get_children() if isinstance(one, AnnotationBbox)]


def drawn(axes):
    """The pixels of the figure, once everything was laid out."""
    axes.figure.canvas.draw()
    return np.asarray(axes.figure.canvas.buffer_rgba())


def test_a_ranking(ranked):
    axes = plot.ranking(ranked)
    scores = [match.scores['clip_score'].value for match in ranked[0].matches]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(scores)
    assert axes.yaxis_inverted()  # the best is on top
    names = labels(axes.get_yticklabels())
    assert names[0] == 'a photo of a cat'
    assert sorted(names) == ['', 'a photo of a cat', r'it costs \$5 or \$6']
    assert len(images(axes)) == 2  # the reference, and a candidate
    assert len(np.unique(drawn(axes)[..., 0])) > 50  # photos, not only bars and letters


def test_given_axes_are_drawn_on(ranked):
    figure, (left, right) = plt.subplots(1, 2)
    assert plot.ranking(ranked, ax=left) is left
    assert plot.similarity(DocumentArray([Document(embedding=np.ones(3))]), ax=right) is right
    assert plt.get_fignums() == [figure.number]
    assert len(left.patches) == 3
    assert right.images[0].get_array().shape == (1, 1)


def test_nothing_is_shown(ranked, monkeypatch):
    monkeypatch.setattr(plt, 'show', lambda *_, **__: pytest.fail('it was shown'))
    plot.ranking(ranked)
    plot.similarity(Document(embedding=np.ones(2)))


def test_the_best_of_many(ranked):
    assert len(plot.ranking(ranked, limit=2).patches) == 2


def test_a_similarity(model, photo):
    images_, texts = model.encode(image=[photo]), model.encode(text=['a photo of a cat', 'a rocket'])
    axes = plot.similarity(images_, texts)
    expected = images_.embeddings @ texts.embeddings.T
    np.testing.assert_allclose(axes.images[0].get_array(), expected, atol=1e-5)
    assert labels(axes.get_yticklabels()) == ['']
    assert labels(axes.get_xticklabels()) == ['a photo of a cat', 'a rocket']
    assert labels(axes.texts) == [f'{value:.2f}' for value in expected[0]]
    assert len(images(axes)) == 1
    drawn(axes)
    with_itself = plot.similarity(texts).images[0].get_array()
    np.testing.assert_allclose(np.diag(with_itself), [1, 1], atol=1e-5)


@settings(max_examples=10)  # each draws a figure
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 5))
def test_cosines_of_any_embeddings(rows, columns, length):
    random = np.random.RandomState(rows)
    a, b = (random.randn(count, length) * 1e3 for count in (rows, columns))
    a[0] = 0  # of which no cosine is known
    axes = plot.similarity(*(DocumentArray([Document(embedding=one) for one in each]) for each in (a, b)))
    cosines = np.asarray(axes.images[0].get_array())
    plt.close(axes.figure)
    assert cosines.shape == (rows, columns)
    assert np.abs(cosines).max() <= 1
    assert (cosines[0] == 0).all()
    for row, column in ((rows - 1, columns - 1), (rows // 2, 0)):
        if row:
            norms = np.linalg.norm(a[row]) * np.linalg.norm(b[column])
            assert cosines[row, column] == pytest.approx(a[row] @ b[column] / norms, abs=1e-6)


@pytest.mark.filterwarnings('ignore:Glyph')  # the font of this machine does not have them all
def test_no_name_is_taken_for_a_formula():
    odd = [*ODD_TEXTS, '$', '$$', r'\$x$', '$\\frac{', '_^{', '<b>']
    matches = [Document(text=text) for text in odd]
    for match in matches:
        match.scores['clip_score'].value = 0.5
    assert drawn(plot.similarity([Document(text=text, embedding=np.ones(2)) for text in odd])).any()
    axes = plot.ranking(Document(text='$\\frac{', matches=matches))
    assert drawn(axes).any()
    assert len(axes.patches) == len(odd)


def test_files_are_read_only_where_the_caller_named_them(model, photo):
    answered = model.encode(image=[photo])
    assert len(images(plot.similarity(answered))) == 2  # of the row, and of the column
    assert len(images(plot.similarity(list(answered)))) == 0
    assert len(images(plot.similarity(Results(list(answered), files=[photo])))) == 2


@pytest.mark.parametrize(
    ('draw', 'words'),
    [
        (lambda: plot.ranking(DocumentArray()), 'response is or holds no documents'),
        (lambda: plot.ranking('a cat'), 'response is or holds str'),
        (lambda: plot.ranking(3), 'response is or holds int'),
        (lambda: plot.ranking([Document(), Document()]), r'has 2 rankings: expected one, such as response\[1:2\]'),
        (lambda: plot.ranking(Document(text='a')), 'nothing ranked'),
        (lambda: plot.ranking(Document(text='a', matches=[Document(text='b')])), 'nothing ranked'),
        (lambda: plot.similarity([]), 'a is or holds no documents'),
        (lambda: plot.similarity(np.ones((2, 2))), 'a is or holds ndarray'),
        (lambda: plot.similarity(Document(text='hello')), "'hello' in a has no embedding"),
        (
            lambda: plot.similarity([Document(embedding=np.ones(2)), Document(embedding=np.ones(3))]),
            'a has embeddings of 2 and 3 numbers',
        ),
        (
            lambda: plot.similarity(Document(embedding=np.ones(2)), Document(embedding=np.ones(3))),
            'embeddings of a have 2 numbers and those of b 3',
        ),
    ],
)
def test_what_cannot_be_drawn(draw, words):
    with pytest.raises(InputError, match=words):
        draw()
    assert plt.get_fignums() == []


def test_without_matplotlib_it_says_what_to_install(monkeypatch, ranked):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    with pytest.raises(MissingExtraError, match=r"needs matplotlib.*pip install 'inference-client\[plot\]'"):
        plot.ranking(ranked)


def test_it_is_an_attribute_of_the_package_and_imports_matplotlib_late():
    assert inference_client.plot is plot
    code = 'import sys, inference_client\nprint(callable(inference_client.plot.ranking), "matplotlib" in sys.modules)'
    assert output_of(code) == 'True False'


# -- notebooks


def test_ipython_shows_html_and_text(ranked):
    shell = pytest.importorskip('IPython.core.interactiveshell').InteractiveShell()
    data, _ = shell.display_formatter.format(ranked)
    assert set(data) == {'text/plain', 'text/html'}
    assert data['text/html'].count('data:image/jpeg') == 2
    assert 'a photo of a cat' in data['text/plain']
    assert '█' in data['text/plain']


def test_the_page(tmp_path, monkeypatch, photo):
    monkeypatch.chdir(ROOT / 'inference_client/data/photos')
    monkeypatch.setenv('MPLBACKEND', 'Agg')
    text = (ROOT / 'docs/results.md').read_text(encoding='utf-8')
    saved = str(tmp_path / 'ranking.png')
    code = '\n'.join(blocks(text, 'python')).replace("'ranking.png'", repr(saved))
    assert output_of(code) + '\n' == ''.join(blocks(text, 'text'))
    assert (tmp_path / 'ranking.png').stat().st_size > 5000
    (session,) = blocks(text, 'console')
    command, _, shown = session.partition('\n')
    code, printed = on_terminal('-m', *shlex.split(command.replace('$ inference-client', 'inference_client')))
    assert (code, printed.replace('\r\n', '\n')) == (0, shown)
