"""The task and the engine, in this process."""

from __future__ import annotations

import io
import math
from fractions import Fraction

import numpy as np
import pytest
from docarray import Document, DocumentArray
from hypothesis import example, given, settings
from hypothesis import strategies as st
from inference_client_upscale.engine import MAX_PIXELS, MAX_SIDE, UpscaleEngine, check_bounds
from inference_client_upscale.settings import Settings
from inference_client_upscale.task import UpscaleTask
from PIL import Image

from inference_client import Client, InputError, ProtocolError, UnsupportedTaskError

RAMP = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)  # 6 wide, 4 high


@pytest.fixture
def model():
    with Client(trust_env=False) as client:
        yield client.get_model('local://upscale')


def encoded(pixels, image_format='PNG'):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, image_format)
    return file.getvalue()


def opened(document):
    return Image.open(io.BytesIO(document.blob))


def size_of(scale, width=6, height=4):
    return Settings.read({'scale': scale}).size(width, height)


# -- sizes


@pytest.mark.parametrize(
    ('scale', 'expected'),
    [
        ('12:8', (12, 8)),
        ('0:0', (6, 4)),
        ('0:9', (6, 9)),
        ('9:0', (9, 4)),
        ('12:-1', (12, 8)),
        ('-1:8', (12, 8)),
        ('7:-1', (7, 5)),  # 4.67
        ('7:-2', (7, 4)),  # 4.67
        ('-8:10', (16, 10)),  # 15
        ('-7:10', (14, 10)),  # 15
        ('0:-3', (6, 3)),  # 4
        ('-16:0', (16, 4)),  # 6, but 0 is no multiple
        ('-1:-1', (6, 4)),
        ('-4:-5', (6, 4)),
    ],
)
def test_sizes(scale, expected):
    assert size_of(scale) == expected


def test_halves_are_rounded_up_as_ffmpeg_does():
    assert size_of('3:-1', 6, 5) == (3, 3)  # 2.5
    assert size_of('-2:3', 3, 3) == (4, 3)  # 3


SIDES = st.integers(1, 20_000)


@given(SIDES, SIDES, SIDES, st.integers(1, 64))
@example(1, 20_000, 1, 1)
def test_a_side_in_proportion_is_the_nearest_multiple(width, height, wished, multiple):
    size = size_of(f'{wished}:-{multiple}', width, height)
    assert size[0] == wished
    assert size[1] % multiple == 0
    assert size[1] > 0
    exact = Fraction(wished * height, width)
    assert abs(size[1] - exact) <= Fraction(multiple, 2) or size[1] == multiple
    assert size_of(f'-{multiple}:{wished}', height, width) == size[::-1]


@given(SIDES, SIDES, st.integers(-99, 99_999), st.integers(-99, 99_999))
def test_a_size_is_positive_and_keeps_what_was_said(width, height, wished_width, wished_height):
    size = size_of(f'{wished_width}:{wished_height}', width, height)
    assert min(size) > 0
    if wished_width < 0 and wished_height < 0:
        assert size == (width, height)
    for wished, own, got in ((wished_width, width, size[0]), (wished_height, height, size[1])):
        assert wished < 0 or got == (wished or own)


@pytest.mark.parametrize(
    'scale',
    [
        None,
        5,
        '',
        '8',
        '8:',
        ':8',
        '8x8',
        '8:8:8',
        '1e3:8',
        '8.0:8',
        ' 8:8',
        '8:8\n',
        '--1:8',
        '9999999:1',
        '٣:٣',
        b'8:8',
    ],
)
def test_a_scale_that_is_none(scale):
    with pytest.raises(InputError, match=r'expected .*width:height'):
        Settings.read({'scale': scale})


@pytest.mark.parametrize('quality', [1, 100, 90.0])
def test_a_quality_may_come_as_a_float(quality):
    read = Settings.read({'scale': '8:8', 'quality': quality}).quality
    assert (read, type(read)) == (int(quality), int)


@pytest.mark.parametrize('quality', [0, 101, 90.5, True, '90', math.nan, math.inf, [90]])
def test_a_quality_that_is_none(quality):
    with pytest.raises(InputError, match='from 1 to 100'):
        Settings.read({'scale': '8:8', 'quality': quality})


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'scale': '8:8', 'image_format': 'gif'}, "'jpeg' or 'png'"),
        ({'scale': '8:8', 'image_format': ['png']}, "'jpeg' or 'png'"),
        ({'scale': '8:8', 'image_format': 'png', 'quality': 90}, 'goes with jpeg'),
        ({'scale': '8:8', 'qualtiy': 90}, "no parameter 'qualtiy'"),
        ({'scale': '8:8', 'output_path': 'x'}, "no parameter 'output_path'"),
    ],
)
def test_other_parameters_that_are_none(parameters, message):
    with pytest.raises(InputError, match=message):
        Settings.read(parameters)


# -- the engine


@pytest.mark.parametrize('image_format', ['jpeg', 'png'])
def test_an_image_is_scaled_with_lanczos(model, image_format):
    answered = model.upscale(image=RAMP, scale='24:-1', image_format=image_format)[0]
    assert opened(answered).format == image_format.upper()
    assert (answered.tags['width'], answered.tags['height']) == opened(answered).size == (24, 16)
    expected = Image.fromarray(RAMP).resize((24, 16), Image.Resampling.LANCZOS)
    difference = np.asarray(opened(answered)).astype(int) - np.asarray(expected)
    assert np.abs(difference).max() <= (0 if image_format == 'png' else 16)


def test_quality_costs_bytes(model):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    sizes = [len(model.upscale(image=noise, scale='0:0', quality=quality)[0].blob) for quality in (1, 50, 100)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_several_images_come_in_order(model):
    images = [RAMP, encoded(RAMP[:2]), Image.fromarray(RAMP[:, :1])]
    answered = model.upscale(image=iter(images), scale='-1:8', batch_size=2)
    assert [opened(document).size for document in answered] == [(12, 8), (24, 8), (2, 8)]


def test_documents(model):
    docs = DocumentArray([Document(blob=encoded(RAMP), tags={'width': 1, 'mine': 2}), Document(tensor=RAMP)])
    answered = model.upscale(docs=docs, scale='12:8')
    assert [opened(document).size for document in answered] == [(12, 8)] * 2
    assert answered[0].tags == {'width': 12, 'height': 8, 'mine': 2}
    assert docs[0].blob == encoded(RAMP)
    assert docs[0].tags == {'width': 1, 'mine': 2}


def test_an_image_of_its_own_size_and_making_comes_back_the_same(model, tmp_path):
    """Where the answer equals what was sent, it is no echo to be left out."""
    once = model.upscale(image=RAMP, scale='0:0', image_format='png')[0].blob
    (tmp_path / 'once.png').write_bytes(once)
    twice = model.upscale(image=str(tmp_path / 'once.png'), scale='0:0', image_format='png')
    assert twice[0].blob == once


@pytest.mark.parametrize(
    'scale', [f'{MAX_SIDE + 1}:1', f'1:{MAX_SIDE + 1}', f'{MAX_SIDE}:{MAX_PIXELS // MAX_SIDE + 1}', '1:-999999']
)
def test_too_large_a_size_is_refused(model, scale):
    with pytest.raises(InputError, match='pixels are too many'):
        model.upscale(image=RAMP, scale=scale)


def test_what_is_in_memory_on_the_way_counts(model):
    """Pillow widens first: 16384 x 1 from 1 x 10000 takes 16384 x 10000 in between."""
    with pytest.raises(InputError, match='16384 x 10000 pixels are too many on the way to 16384 x 1'):
        model.upscale(image=np.zeros((10_000, 1, 3), np.uint8), scale='16384:1')


def test_the_largest_sizes_are_not_refused():
    check_bounds(MAX_SIDE, MAX_PIXELS // MAX_SIDE, 1)
    check_bounds(MAX_PIXELS // MAX_SIDE, MAX_SIDE, 1)


@given(st.dictionaries(st.sampled_from(['scale', 'image_format', 'quality', 'x']), st.none() | st.text() | st.floats()))
@settings(deadline=None)
def test_whatever_a_stranger_sends_is_answered_or_refused(parameters):
    document = Document(blob=encoded(RAMP))
    try:
        UpscaleEngine().run('upscale', DocumentArray([document]), parameters)
    except InputError:
        return
    assert opened(document).size


def test_a_document_without_an_image():
    with pytest.raises(InputError, match='no content'):
        UpscaleEngine().run('upscale', DocumentArray([Document()]), {'scale': '8:8'})


# -- the task


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({}, 'scale is None'),
        ({'scale': '8:8'}, 'exactly one of image=, docs='),
        ({'scale': '8:8', 'image': RAMP, 'docs': Document(tensor=RAMP)}, 'exactly one of'),
        ({'scale': '8:8', 'docs': Document(text='hello')}, 'expected an image'),
        ({'scale': '8', 'image': RAMP}, 'scale is'),
        ({'scale': '8:8', 'image': RAMP, 'image_format': 'gif'}, 'image_format is'),
        ({'scale': '8:8', 'image': []}, 'the input is empty'),
        ({'scale': '8:8', 'image': RAMP, 'mystery': 1}, "no parameter 'mystery'"),
    ],
)
def test_wrong_arguments(model, arguments, message):
    with pytest.raises(InputError, match=message):
        model.upscale(**arguments)


def test_documents_after_a_bad_one_are_still_given():
    documents = UpscaleTask().prepare(image=[RAMP, 'no-such.png', RAMP], scale='8:8').documents
    assert next(documents).tensor is not None
    with pytest.raises(InputError, match=r'no-such\.png'):
        next(documents)
    assert next(documents).tensor is not None
    assert next(documents, None) is None


def accepted(document, **arguments):
    task = UpscaleTask()
    task.prepare(image=RAMP, scale='8:8', **arguments)
    return task.accept(document)


@pytest.mark.parametrize(
    'document',
    [
        Document(),
        Document(blob=encoded(RAMP)),
        Document(blob=encoded(RAMP), tags={'width': 6}),
        Document(blob=encoded(RAMP), tags={'width': '6', 'height': 4}),
        Document(blob=encoded(RAMP), tags={'width': math.nan, 'height': math.inf}),
        Document(tags={'width': 6, 'height': 4}),
    ],
)
def test_an_answer_without_an_image_and_its_size(document):
    with pytest.raises(UnsupportedTaskError, match='no model for this task'):
        accepted(document, image_format='png')


def test_an_answer_of_another_format():
    document = Document(blob=encoded(RAMP), tags={'width': 6.0, 'height': 4.0})
    assert accepted(document, image_format='png').tags == {'width': 6, 'height': 4}
    with pytest.raises(ProtocolError, match='the answer is no jpeg'):
        accepted(document)
