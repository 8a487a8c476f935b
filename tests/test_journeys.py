"""What is given arrives: the same image means the same in every form, and odd texts come back as they were sent."""

from __future__ import annotations

import io
from itertools import chain

import numpy as np
import pytest
import strategies
from docarray import Document, DocumentArray
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PIL
from strategies import encoded, image_forms, noise

from inference_client import Client, InputError
from inference_client._documents import DEEPEST

SCHEMES = ['grpc', 'http', 'ws']


@pytest.fixture(scope='module')
def embedded():
    """The embedded model, in this process."""
    pytest.importorskip('onnxruntime')
    with Client().get_model() as model:
        yield model


@pytest.fixture(params=SCHEMES)
def plain(request, plain_flow):
    """A Jina server of somebody else's, by each of its protocols.

    Connected anew for each test: after 20 s websockets makes pings with `random`, which hypothesis takes for ours.
    """
    with Client().get_model(plain_flow[request.param]) as model:
        yield model


def embeddings(answer):
    return np.stack([document.embedding for document in answer])


def assert_same(vectors):
    """That they point the same way; the last digits depend on what else was in the batch."""
    assert np.ptp(vectors, axis=0).max() < 1e-4 * np.abs(vectors).max()


@settings(max_examples=4)
@given(pixels=strategies.pixels(channels=(3,)))
def test_every_form_of_an_image_has_the_same_embedding(embedded, pixels, tmp_path):
    forms = list(chain(*image_forms(encoded(pixels), pixels, tmp_path / 'cat.png')))
    documents = [one for one in forms if isinstance(one, Document)]
    others = [one for one in forms if not isinstance(one, Document)]
    assert_same(
        np.concatenate([embeddings(embedded.encode(image=others)), embeddings(embedded.encode(docs=documents))])
    )


@pytest.mark.parametrize('scheme', SCHEMES)
def test_every_form_of_an_image_has_the_same_embedding_on_a_server(server, embedded, scheme, tmp_path):
    pixels = noise()
    forms = list(chain(*image_forms(encoded(pixels), pixels, tmp_path / 'cat.png')))
    with Client().get_model(server[scheme]) as model:
        assert_same(embeddings([*model.encode(image=forms, batch_size=7), *embedded.encode(image=pixels)]))


def turned():
    exif = PIL.Exif()
    exif[0x0112] = 6  # a quarter clockwise
    return encoded(PIL.fromarray(np.ascontiguousarray(np.rot90(noise()))), exif=exif.tobytes())


def meanings():
    """Pairs of images that mean the same."""
    pixels, grey = noise(), noise()[:, :, 0]
    alpha = np.dstack([pixels, noise(channels=1)])
    palette = PIL.fromarray(pixels).quantize(16)
    return {
        'grey': (grey, np.repeat(grey[:, :, None], 3, axis=2)),
        'grey file': (encoded(grey), grey[:, :, None]),
        'alpha': (alpha, pixels),
        'alpha file': (encoded(alpha), pixels),
        'channels first': (alpha.transpose(2, 0, 1), pixels),
        'palette': (encoded(palette), palette.convert('RGB')),
        'bits': (encoded(PIL.fromarray(grey > 99)), (grey > 99) * np.uint8(255)),
        '16 bits': (encoded(PIL.fromarray(grey.astype(np.uint16) * 256 + 77)), grey),
        'EXIF': (turned(), pixels),
        'EXIF of PIL': (PIL.open(io.BytesIO(turned())), pixels),
        'frames': (encoded(PIL.fromarray(grey), 'GIF', save_all=True, append_images=[PIL.new('L', (30, 40))]), grey),
    }


def test_images_mean_what_is_documented(embedded):
    for name, pair in meanings().items():
        different = embeddings(embedded.encode(image=[*pair, 255 - noise()]))
        assert_same(different[:2]), name
        assert np.abs(different[2] - different[0]).max() > 0.01, 'this embedding says nothing'


@settings(max_examples=20)
@given(text=strategies.odd_texts(), key=strategies.odd_texts())
def test_texts_come_back_as_they_were_sent(plain, text, key):
    document = Document(text=text, tags={key: text, 'n': {key: [text]}})
    (answer,) = plain.encode(docs=document, x={key: text})
    assert_arrived(answer, text)
    assert answer.tags[key] == text or key in ('n', 'seen', 'uri')
    assert answer.tags['n'] == {key: [text]} or key == 'n'
    assert answer.tags['seen']['x'] == {key: text}
    (ranked,) = plain.rank(reference='a', candidates=[Document(text=text)])
    assert ranked.matches[0].text == text
    assert ranked.matches[0].scores['clip_score'].value == pytest.approx(len(text) / 100)


def assert_arrived(answer, text):
    """That the model saw this text, of which it embeds the length and the first letters."""
    assert answer.text == text
    assert answer.embedding.tolist() == [len(text), *(ord(letter) for letter in text[:3].ljust(3))]


@pytest.mark.parametrize('text', ['x' * 1_000_000, '\U0001f600\0e\u0301' * 250_000], ids=['plain', 'odd'])
def test_a_megabyte_of_text_comes_back(plain, text):
    answers = plain.encode(text=[text, 'short'])
    assert_arrived(answers[0], text)
    assert_arrived(answers[1], 'short')


@settings(max_examples=15)
@given(text=strategies.surrogate_texts())
def test_what_is_no_unicode_is_refused_before_it_is_sent(plain, text):
    for arguments in (
        {'text': text},
        {'docs': Document(text='a', tags={'x': text})},
        {'docs': Document(text='a', tags={text: 'x'})},
        {'docs': Document(text='a', tags={'x': [{'y': text}]})},
        {'docs': Document(text='a', id=text)},
        {'docs': Document(text='a', modality=text)},
        {'text': 'a', 'parameter': text},
        {'text': 'a', 'parameter': {text: 1}},
    ):
        with pytest.raises(InputError) as caught:
            plain.encode(**arguments)
        str(caught.value).encode()


def test_the_deepest_documents_that_are_taken_arrive(plain):
    document = Document(text='a')
    for _ in range(DEEPEST):
        tags = {}
        for _ in range(DEEPEST - 1):
            tags = {'x': tags}
        document = Document(text='a', tags={'x': tags}, matches=[document])
    (answer,) = plain.encode(docs=document)
    for _ in range(DEEPEST):
        assert answer.tags['x'] == document.tags['x']
        (answer,), (document,) = answer.matches, document.matches


@settings(max_examples=20)
@given(count=st.integers(1, 40), batch_size=st.integers(1, 9), prefetch=st.integers(1, 6), lazy=st.booleans())
def test_order_and_count_are_kept(plain, count, batch_size, prefetch, lazy):
    texts = [f'{number} is it' for number in range(count)]
    given = iter(texts) if lazy else texts
    answers = plain.encode(text=given, batch_size=batch_size, prefetch=prefetch)
    assert [answer.text for answer in answers] == texts
    assert [answer.embedding.tolist() for answer in answers] == [[len(text), *map(ord, text[:3])] for text in texts]


@settings(max_examples=10)
@given(documents=st.lists(strategies.documents(depth=0, dtypes=('u1',)), min_size=1, max_size=4))
def test_documents_come_back_with_what_they_held(plain, documents):
    sent = DocumentArray()
    for document in documents:
        sent.append(document if document.text else Document(text='a', tags=document.tags))
    for answer, document in zip(plain.encode(docs=sent), sent):
        assert (answer.id, answer.text) == (document.id, document.text)
        assert {**answer.tags, 'seen': {}, 'uri': ''} == {**document.tags, 'seen': {}, 'uri': ''}
