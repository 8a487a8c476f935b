"""Coercion: what is text and what an image, what is refused and how; nothing of the caller's changes."""

from __future__ import annotations

import array
import io
import mimetypes
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import strategies
from docarray import Document, DocumentArray
from docarray.score import NamedScore
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PIL
from strategies import Tensor, data_uri, encoded, image_forms, noise, snapshot

from inference_client import inputs
from inference_client._documents import Loaded, copy_with, new_document
from inference_client._fetch import looks_like_image
from inference_client._images import decode_image
from inference_client._inputs import (
    IMAGE_FORMS,
    Image,
    Text,
    any_document,
    documents,
    each,
    from_document,
    image_document,
    text_document,
)
from inference_client.errors import InputError

PIXELS = noise()
PNG = encoded(PIXELS)


class Pipe(io.RawIOBase):
    """A binary file that cannot seek."""

    def __init__(self, data):
        self.rest = data

    def readable(self):
        return True

    def readinto(self, buffer):
        size = min(len(buffer), len(self.rest))
        buffer[:size], self.rest = self.rest[:size], self.rest[size:]
        return size


@pytest.fixture
def png(tmp_path):
    """Path of a PNG of `PIXELS`."""
    path = tmp_path / 'cat.png'
    path.write_bytes(PNG)
    return path


# ----------------------------------------------------------------- forms


@pytest.mark.parametrize(
    'form',
    [
        str,
        lambda path: path,
        lambda path: path.as_uri(),
        lambda path: data_uri(PNG),
        lambda path: 'DATA:image/png,' + ''.join(f'%{byte:02x}' for byte in PNG),
        lambda path: PNG,
        lambda path: bytearray(PNG),
        lambda path: memoryview(PNG),
        lambda path: memoryview(bytes(reversed(PNG)))[::-1],
        lambda path: io.BytesIO(PNG),
        lambda path: io.BufferedReader(Pipe(PNG)),
        lambda path: Document(blob=PNG),
        lambda path: Document(uri=str(path)),
        lambda path: Document(uri=path),
        lambda path: Document(uri=data_uri(PNG)),
        lambda path: Image(str(path)),
        lambda path: Image(PNG),
        lambda path: Image(Document(blob=PNG)),
    ],
)
@pytest.mark.parametrize('convert', [image_document, any_document])
def test_encoded_images_pass_through_untouched(form, convert, png):
    document = convert(form(png))
    assert document.blob == PNG
    assert type(document.blob) in (bytes, Loaded)
    assert document.tensor is None
    assert not document.text


@pytest.mark.parametrize(
    'form',
    [
        lambda: PIXELS,
        lambda: PIXELS.transpose(2, 0, 1),
        lambda: PIL.fromarray(PIXELS),
        lambda: PIL.open(io.BytesIO(PNG)),
        lambda: Tensor(PIXELS),
        lambda: Tensor(PIXELS.transpose(2, 0, 1)),
        lambda: np.ma.array(PIXELS),
        lambda: Document(tensor=PIXELS),
        lambda: Document(tensor=Tensor(PIXELS)),
        lambda: Image(PIXELS),
    ],
)
@pytest.mark.parametrize('convert', [image_document, any_document])
def test_pixels_become_an_rgb_tensor(form, convert):
    document = convert(form())
    assert type(document.tensor) is np.ndarray
    assert np.array_equal(document.tensor, PIXELS)
    assert not document.blob


def test_a_path_stays_the_name_of_the_result(png):
    assert image_document(png).uri == image_document(str(png)).uri == str(png)


@pytest.mark.parametrize('start', [0, 5])
def test_a_file_is_read_from_where_it_stands_and_put_back_there(start):
    file = io.BytesIO(b'x' * start + PNG)
    file.seek(start)
    for _ in range(2):
        assert image_document(file).blob == PNG
        assert file.tell() == start


def test_a_file_is_put_back_also_when_it_is_no_image():
    file = io.BytesIO(b'not an image')
    file.seek(4)
    with pytest.raises(InputError, match='the image file is not an image'):
        image_document(file)
    assert file.tell() == 4


@given(text=strategies.texts())
def test_text_is_taken_as_it_is(text):
    assert text_document(text).text == text
    assert text_document(Text(text)).text == text
    assert text_document(Document(text=text)).text == text
    assert any_document(Text(text)).text == text


def test_wrappers_say_what_a_string_is(png, tmp_path):
    nameless = tmp_path / 'picture'
    nameless.write_bytes(PNG)
    assert any_document(str(png)).blob == PNG
    assert any_document(Text(str(png))).text == str(png)
    assert any_document(str(nameless)).text == str(nameless)
    assert any_document(Image(str(nameless))).blob == PNG
    assert (Text('a'), Image('a')) == (Text('a'), Image('a'))


@pytest.mark.parametrize(
    'form', [PNG, io.BytesIO(PNG), data_uri(PNG), PIXELS, PIL.fromarray(PIXELS), Document(blob=PNG), Tensor(PIXELS)]
)
def test_the_limit_of_pixels_is_the_wrappers(form):
    for convert in (image_document, any_document):
        convert(Image(form, max_pixels=1200))
        with pytest.raises(InputError, match='30 x 40 pixels: at most 1,199 are taken'):
            convert(Image(form, max_pixels=1199))


@pytest.mark.parametrize('limit', [0, -1, 1.5, '80', None])
def test_a_limit_of_pixels_is_a_positive_int(limit):
    with pytest.raises(InputError, match=r'max_pixels is .*: expected a positive int'):
        Image(PNG, max_pixels=limit)


def test_an_image_that_cannot_be_loaded_is_never_silently_text():
    with pytest.raises(InputError, match=r"no such image file: 'missing\.jpg'"):
        any_document('missing.jpg')


# -------------------------------------------------------- the same everywhere


@given(pixels=strategies.pixels(channels=(3,)))
def test_every_form_becomes_one_document_with_the_same_pixels(pixels, tmp_path):
    png = encoded(pixels)
    as_bytes, as_pixels = image_forms(png, pixels, tmp_path / 'cat.png')
    for number, form in enumerate([*as_bytes, *as_pixels]):
        for value in (form, Image(form)):
            (document,) = each(value, image_document, IMAGE_FORMS)
            if number < len(as_bytes):
                assert document.blob == png
                assert np.array_equal(decode_image(document.blob), pixels)
            else:
                assert np.array_equal(document.tensor, pixels)
            assert document.content_type == ('blob' if number < len(as_bytes) else 'tensor')
            assert snapshot(from_document(document)) == snapshot(document)


@given(document=strategies.documents(dtypes=('u1',)))
def test_a_document_that_was_taken_is_taken_again_as_it_is(document):
    try:
        taken = from_document(document)
    except InputError:
        return
    for function in (from_document, any_document):
        assert snapshot(function(taken)) == snapshot(taken)


@given(values=st.lists(strategies.texts() | st.just(PNG) | st.just(PIXELS)), junk=st.none() | strategies.junk())
def test_all_are_taken_in_order_up_to_the_first_that_cannot_be(values, junk):
    def convert(value):
        return text_document(value) if isinstance(value, str) else image_document(value)

    whole = [snapshot(convert(value)) for value in values]
    taken = []
    with pytest.raises(InputError) if junk is not None and not isinstance(junk, str) else nullcontext():
        for document in each([*values, *([] if junk is None or isinstance(junk, str) else [junk])], convert, ''):
            taken.append(snapshot(document))
    assert [{**one, 'id': ''} for one in taken] == [{**one, 'id': ''} for one in whole]


# ---------------------------------------------------------- nothing changes


@given(tags=strategies.tags(), text=strategies.texts())
def test_documents_are_copied_and_left_as_they_are(tags, text):
    inner = [Document(text=text, tags={'n': {'deep': [1]}}), Document(tensor=PIXELS), Document(blob=PNG)]
    for content in ({'text': text}, {'blob': PNG}, {'tensor': PIXELS}, {'uri': data_uri(PNG)}):
        document = Document(tags=tags, weight=0.5, matches=inner, chunks=inner[:1], **content)
        document.scores['clip_score'] = NamedScore(value=0.25)
        document.embedding = np.ones(3)
        before = snapshot(document)
        copied = from_document(document)
        assert (copied.id, copied.tags, copied.weight) == (document.id, document.tags, 0.5)
        assert [match.id for match in copied.matches] == [match.id for match in document.matches]
        assert copied.embedding is None
        assert not copied.scores
        copied.tags['prompt'] = copied.matches[0].tags['prompt'] = 'mine'
        copied.matches[0].tags['n']['deep'].append('mine')
        copied.matches.reverse()
        copied.text = 'mine'
        assert snapshot(document) == before


def test_copies_share_no_container_not_even_an_empty_one():
    document = Document(text='a')
    assert vars(from_document(document)._data).keys() == vars(document._data).keys()
    assert document._data.matches is None, 'looking at a document changed it'
    assert document.tags == {}  # which makes the dict
    for copied in (from_document(document), copy_with(document)):
        copied.tags['b'] = 1
        copied.location.append(1.0)
        assert not document.tags
        assert not document.location


@given(tags=strategies.tags(), text=strategies.texts())
def test_a_document_is_made_as_docarray_makes_it(tags, text):
    content = {'text': text}, {'blob': PNG}, {'tensor': PIXELS}, {'uri': 'a.png'}, {'uri': 'a', 'mime_type': 'png'}
    for fields in content:
        fields = {**fields, 'id': 'd', 'tags': tags, 'matches': [Document(id='m', text=text)], 'weight': 0.5}
        made, theirs = new_document(**fields), Document(**fields)
        assert snapshot(made) == snapshot(theirs)
        assert type(made.matches) is type(theirs.matches)
        assert made.matches.reference_doc is made


@given(pixels=strategies.pixels())
def test_arrays_and_buffers_are_left_as_they_are(pixels):
    before, buffer = pixels.copy(), bytearray(PNG)
    image_document(pixels)
    image_document(Document(tensor=pixels))
    blob = image_document(buffer).blob
    assert np.array_equal(pixels, before)
    assert buffer == PNG
    buffer[:] = b''
    assert blob == PNG


# --------------------------------------------------------------- bad input


@given(junk=strategies.junk())
def test_junk_is_an_input_error_whatever_it_is(junk):
    for function in (image_document, from_document, lambda value: list(documents(value))):
        with pytest.raises(InputError):
            function(junk)
    if not isinstance(junk, str):
        for function in (text_document, any_document):
            with pytest.raises(InputError):
                function(junk)


@given(value=strategies.hostile())
def test_what_raises_when_it_is_looked_at_is_an_input_error(value):
    for function in (image_document, any_document, text_document, from_document, lambda one: from_document(Image(one))):
        with pytest.raises(InputError):
            function(value)
    for field in ('text', 'blob', 'tensor'):
        with pytest.raises(InputError):
            from_document(Document(**{field: value}))


@given(junk=strategies.junk())
def test_junk_in_a_list_or_document_is_an_input_error(junk):
    with pytest.raises(InputError):
        list(each([junk], image_document, IMAGE_FORMS))
    fields = ['blob', 'tensor'] if isinstance(junk, str) else ['text', 'blob', 'tensor']
    for field in fields:
        with pytest.raises(InputError):
            from_document(Document(**{field: junk}))


@given(name=strategies.hostile_names())
def test_hostile_names_are_an_input_error_that_can_be_printed(name):
    values = [name, Image(name)]
    if '://' not in name:  # where the Document itself cannot be made on Python 3.13
        values.append(Document(uri=name))
    for value in values:
        with pytest.raises(InputError) as caught:
            image_document(value)
        str(caught.value).encode()


@given(text=strategies.surrogate_texts())
def test_lone_surrogates_are_refused_as_text(text):
    for function in (
        text_document,
        lambda value: any_document(Text(value)),
        lambda value: from_document(Document(text=value)),
    ):
        with pytest.raises(InputError, match='lone surrogate'):
            function(text)


@pytest.mark.parametrize('convert', [text_document, any_document])
def test_empty_text_is_refused(convert):
    with pytest.raises(InputError, match='the text is empty'):
        convert('')


@pytest.mark.parametrize('value', [5, b'hello', ['hello'], Path('hello'), Image('hello'), None, Text(5)])
def test_what_is_no_text_is_refused_as_text(value):
    with pytest.raises(InputError, match='as text: expected a str'):
        text_document(value)


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (
            lambda folder: folder / 'missing.png',
            r'no such image file: .*missing\.png.*; give a path, an http',
        ),
        (lambda folder: folder, 'is a directory: expected an image file'),
        (lambda folder: written(folder / 'empty.png', b''), r'empty\.png. is empty'),
        (lambda folder: written(folder / 'note.jpg', b'Dear diary'), r'note\.jpg. is not an image'),
        (lambda folder: written(folder / 'cut.png', PNG[:-20]), r'cut\.png. is damaged'),
        (
            lambda folder: written(folder / 'cut.jpg', encoded(PIXELS, 'JPEG')[:-20]),
            r'cut\.jpg. is a truncated JPEG',
        ),
        (lambda folder: folder / ('x' * 3000), 'cannot be read as an image file'),
    ],
    ids=['missing', 'directory', 'empty', 'text', 'cut PNG', 'cut JPEG', 'long'],
)
def test_bad_files_are_named(make, words, tmp_path):
    path = make(tmp_path)
    for function in (
        image_document,
        lambda path: image_document(str(path)),
        lambda path: from_document(Document(uri=str(path))),
    ):
        with pytest.raises(InputError, match=words):
            function(path)


def written(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ('value', 'words'),
    [
        ('', 'the image name is empty'),
        (b'', 'image data is empty'),
        (b'hello', 'image data is not an image'),
        (PNG[:-20], 'image data is damaged'),
        (io.BytesIO(), 'the image file is empty'),
        (io.StringIO('hello'), 'binary mode'),
        (PIXELS.astype(float), 'expected uint8 from 0 to 255'),
        (PIXELS[np.newaxis], 'pass several images as a list'),
        (5, 'got a int as image: expected a path, an http'),
        (Text('cat.png'), 'got a Text as image'),
        (Image(None), 'got a NoneType as image'),
        (array.array('B', PNG), 'got a array as image'),
        (io.BytesIO, 'got a type as image'),
        (Document(text='hello'), 'has text: expected an image'),
        (Document(), 'is empty: expected text, blob, tensor or uri'),
        (Document(chunks=[Document(text='inner')]), 'is empty: expected text, blob, tensor or uri'),
        (Document(blob=b'hello'), 'the blob of document .* is not an image'),
        (Document(blob=PIXELS), 'the blob of document .* is a ndarray: expected bytes'),
        (Document(blob='cat.png'), 'the blob of document .* is a str: expected bytes'),
        (Document(tensor=PIXELS.astype(float)), 'expected uint8 from 0 to 255'),
        (Document(uri='missing.png'), 'no such image file'),
    ],
)
def test_bad_images_are_refused_with_the_reason(value, words):
    with pytest.raises(InputError, match=words):
        image_document(value)


def test_a_file_that_is_open_as_text_is_refused_with_the_way_out(png):
    for path in (png, written(png.with_name('ascii.png'), b'GIF89a')):
        with path.open(encoding='utf-8') as file:
            with pytest.raises(InputError, match='open it in binary mode'):
                image_document(file)
            assert file.tell() == 0


def test_files_that_cannot_be_read_are_refused(png):
    closed = io.BytesIO(PNG)
    closed.close()
    with (png.with_name('new.png')).open('wb') as write_only:
        for file in (closed, write_only):
            with pytest.raises(InputError, match='the image file cannot be read'):
                image_document(file)


@pytest.mark.parametrize('value', [{'image': 'cat.png'}, {'cat.png'}, frozenset()])
def test_containers_without_order_are_refused(value):
    with pytest.raises(InputError, match=f'got a {type(value).__name__}: expected a str, or a list of such'):
        list(each(value, text_document, 'a str'))


@pytest.mark.parametrize(
    'value',
    ['hello', b'hello', {'text': 'hello'}, 5, None, ['hello'], [Document(text='x'), None], {1}, PIXELS],
)
def test_what_is_no_document_is_refused_as_docs(value):
    with pytest.raises(InputError, match=r'docs (is|holds) a|got a set'):
        list(documents(value))


def nested(depth):
    document, tags = Document(text='a'), {}
    for _ in range(depth):
        document, tags = Document(text='a', matches=[document]), {'x': tags}
    return document, Document(text='a', tags=tags)


def test_documents_may_be_nested_but_not_without_end():
    chain, tagged = map(from_document, nested(19))
    for _ in range(19):
        (chain,), tagged.tags = chain.matches, tagged.tags['x']
    assert (chain.text, len(chain.matches), tagged.tags) == ('a', 0, {})
    itself = Document(text='a')
    itself.matches.append(itself)
    tags = {}
    tags['x'] = [tags]
    for document in (*nested(22), itself, Document(text='a', tags=tags)):
        with pytest.raises(InputError, match=r'is the 21th within another, or holds itself|nested more than 20 deep'):
            from_document(document)


@pytest.mark.parametrize('tags', ['abc', [1], 5])
def test_tags_that_are_no_dict_are_refused(tags):
    for document in (Document(text='a', tags=tags), Document(text='a', matches=[Document(text='b', tags=tags)])):
        with pytest.raises(InputError, match='as tags: expected a dict'):
            from_document(document)


@pytest.mark.parametrize('value', [Document(), Document(blob=PNG), Document(uri='cat.png')])
def test_a_document_without_text_is_refused_as_text(value):
    with pytest.raises(InputError, match='has no text'):
        text_document(value)


# ---------------------------------------------------------------- one or many


@pytest.mark.parametrize('many', [list, tuple, iter, DocumentArray, lambda items: (item for item in items)])
def test_many_are_taken_in_order(many):
    given = [Document(text=str(number)) for number in range(5)]
    assert [document.text for document in each(many(given), text_document, 'a str')] == list('01234')
    assert [document.text for document in documents(many(given))] == list('01234')


@pytest.mark.parametrize('one', [PNG, bytearray(PNG), memoryview(PNG), PIXELS, Tensor(PIXELS), PIL.fromarray(PIXELS)])
def test_one_image_that_can_be_iterated_is_still_one(one):
    assert len(list(each(one, image_document, IMAGE_FORMS))) == 1


def test_an_open_file_is_one_image_though_it_has_lines():
    assert [document.blob for document in each(io.BytesIO(PNG), image_document, IMAGE_FORMS)] == [PNG]


@pytest.mark.parametrize('many', [list, tuple, iter])
def test_a_bad_item_does_not_end_those_after_it(many):
    found = each(many(['a', 5, 'b']), text_document, 'a str')
    assert next(found).text == 'a'
    with pytest.raises(InputError, match='got a int as text'):
        next(found)
    assert [document.text for document in found] == ['b']


def test_the_module_for_plugins():
    assert [document.text for document in inputs.text_documents(iter('ab'))] == ['a', 'b']
    assert [document.blob for document in inputs.image_documents([PNG, io.BytesIO(PNG)])] == [PNG, PNG]
    assert [document.tensor.shape for document in inputs.image_documents(PIXELS)] == [PIXELS.shape]
    assert all(callable(getattr(inputs, name)) for name in inputs.__all__)


# --------------------------------------------------------- looks_like_image


@pytest.mark.parametrize(
    'text',
    [
        'cat.jpg',
        'cat.JPEG',
        'photos/cat of 2019.png',
        '/abs/cat.webp',
        'C:\\photos\\cat.bmp',
        'cat.tar.gif',
        'cat.avif',
        'cat.heic',
        'cat.heif',
        'cat.tif',
        'cat.tiff',
        'cat.svg',
        'file:///photos/cat.jpg',
        'http://example.org/cat.jpg',
        'HTTPS://EXAMPLE.ORG/CAT.JPG',
        'https://example.org/cat.jpg?size=large&name=a.txt',
        'https://example.org/cat.jpg?at=2019/10',
        'https://example.org/cat.jpg#top',
        'data:image/png;base64,AAAA',
        'data:image/svg+xml,%3Csvg/%3E',
        'DATA:IMAGE/PNG;base64,AAAA',
    ],
)
def test_names_of_images_look_like_images(text):
    assert looks_like_image(text) is True


@pytest.mark.parametrize(
    'text',
    [
        '',
        '.',
        'a photo of a cat',
        'I like jpg',
        'Is a .png better than a .jpg?',
        'cat.jpg is a photo.',
        'cat.txt',
        'cat.jpg.txt',
        'cat.jpg/',
        'cat.jpgs',
        '.jpg',
        'photos/.png',
        'https://example.org/',
        'https://example.org/show?name=cat.jpg',
        'https://example.org/notes.txt#cat.jpg',
        'https://example.jpg',
        'http://[cat.jpg',
        'data:text/plain,cat.jpg',
        'data: the price rose by 4.5',
        'data:image/png',
    ],
)
def test_other_text_does_not_look_like_an_image(text):
    assert looks_like_image(text) is False


@given(text=st.one_of(st.text(), strategies.hostile_names(), st.text().map('http://{}'.format)))
def test_any_text_gets_an_answer(text):
    assert looks_like_image(text) in (True, False)


def test_the_answer_does_not_depend_on_the_tables_of_the_machine(monkeypatch):
    monkeypatch.setattr(mimetypes, 'types_map', {'.story': 'image/png'})
    monkeypatch.setattr(mimetypes, '_db', None)
    mimetypes.add_type('image/x-story', '.story')
    assert not looks_like_image('my.story')
    assert looks_like_image('cat.png')


def test_a_buffer_that_is_filled_again_is_copied():
    def frames():
        buffer = np.zeros((2, 2, 3), np.uint8)
        for number in range(3):
            buffer[:] = number
            yield buffer

    assert [document.tensor[0, 0, 0] for document in each(frames(), image_document, '')] == [0, 1, 2]
