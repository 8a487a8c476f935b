"""Images: encoded bytes are checked, pixels of every kind become uint8 RGB."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import strategies
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image
from strategies import encoded, noise

from inference_client._images import (
    MAX_PIXELS,
    OBLONG,
    check_encoded,
    core,
    decode_image,
    middle,
    rgb_from_array,
    rgb_from_pil,
)
from inference_client.errors import InputError


def png_chunk(kind, data=b''):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png_claiming(width, height):
    """A well-formed PNG of a few bytes that says how large it is, but has hardly any pixels."""
    header = png_chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + png_chunk(b'IDAT', zlib.compress(b'\0')) + png_chunk(b'IEND')


def with_comment(jpeg, comment):
    return jpeg[:2] + b'\xff\xfe' + struct.pack('>H', len(comment) + 2) + comment + jpeg[2:]


def pictures():
    """One picture in each of PIL's modes that files come in."""
    rgb = Image.fromarray(noise(6, 5))
    translucent = Image.fromarray(noise(6, 5, 4))
    grey16 = Image.fromarray(np.arange(30, dtype=np.uint16).reshape(6, 5) * 2000)
    return {
        'RGB': rgb,
        'RGBA': translucent,
        'L': rgb.convert('L'),
        'LA': translucent.convert('LA'),
        'P': rgb.convert('P'),
        '1': rgb.convert('1'),
        'CMYK': rgb.convert('CMYK'),
        'I;16': grey16,
    }


JPEGS = {
    'baseline': encoded(noise(), 'JPEG'),
    'progressive': encoded(noise(), 'JPEG', progressive=True),
    'restarts': encoded(noise(), 'JPEG', restart_marker_rows=1),
    'with a whole JPEG inside': with_comment(encoded(noise(), 'JPEG'), encoded(noise(4, 4), 'JPEG')),
}
PNG = encoded(noise())


@given(array=strategies.pixels(channels=(3, 4)))
def test_pixels_of_a_png_survive(array):
    assert np.array_equal(decode_image(encoded(array)), array[:, :, :3])


@given(array=strategies.pixels())
def test_every_layout_of_the_same_pixels_gives_the_same_rgb(array):
    rgb = rgb_from_array(array)
    assert (rgb.dtype, rgb.shape) == (np.uint8, (*array.shape[:2], 3))
    assert np.array_equal(rgb, array[:, :, :3] if array.shape[2] > 1 else np.repeat(array, 3, axis=2))
    if array.shape[1] not in (1, 3, 4):  # else the last axis may be channels too, and is read so
        assert np.array_equal(rgb_from_array(array.transpose(2, 0, 1)), rgb)
    if array.shape[2] == 1:
        assert np.array_equal(rgb_from_array(array[:, :, 0]), rgb)


@given(array=strategies.pixels())
def test_arrays_are_not_changed_and_may_be_read_only_or_strided(array):
    before = array.copy()
    array.flags.writeable = False
    mirrored = rgb_from_array(array[::-1, ::-1])
    assert np.array_equal(mirrored[::-1, ::-1], rgb_from_array(array))
    assert np.array_equal(array, before)
    assert mirrored.flags.c_contiguous


@pytest.mark.parametrize('mode', pictures())
def test_every_mode_of_pil_becomes_rgb_and_is_left_as_it_is(mode):
    picture = pictures()[mode]
    assert picture.mode == mode
    before = picture.tobytes(), picture.size, dict(picture.info)
    rgb = rgb_from_pil(picture)
    assert (rgb.dtype, rgb.shape) == (np.uint8, (6, 5, 3))
    assert (picture.tobytes(), picture.size, dict(picture.info)) == before
    assert picture.mode == mode


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'L', 'LA', 'P', 'I;16'])
def test_a_picture_gives_the_same_pixels_before_and_after_a_png(mode):
    picture = pictures()[mode]
    assert np.array_equal(decode_image(encoded(picture)), rgb_from_pil(picture))


def test_alpha_is_dropped():
    array = noise(6, 5, 4)
    assert np.array_equal(rgb_from_pil(Image.fromarray(array)), array[:, :, :3])


def test_16_bit_grey_keeps_its_high_byte():
    values = np.array([[0, 255, 256, 40_000, 65_535]], dtype=np.uint16)
    assert rgb_from_pil(Image.fromarray(values))[0, :, 1].tolist() == [0, 0, 1, 156, 255]
    assert decode_image(encoded(Image.fromarray(values)))[0, :, 1].tolist() == [0, 0, 1, 156, 255]


def test_a_palette_with_transparency_is_read_without_a_warning():
    picture = Image.new('P', (3, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    picture.putdata([0, 1, 2])
    opened = Image.open(io.BytesIO(encoded(picture, transparency=b'\x00\x80\xff')))
    assert opened.mode == 'P'
    assert rgb_from_pil(opened).tolist() == [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]]


def test_a_photo_taken_sideways_is_turned_upright():
    array = noise(8, 4)
    picture = Image.fromarray(array)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn a quarter clockwise to see it upright
    file = encoded(picture, exif=exif.tobytes())
    opened = Image.open(io.BytesIO(file))
    assert np.array_equal(decode_image(file), np.rot90(array, -1))
    assert np.array_equal(rgb_from_pil(opened), np.rot90(array, -1))
    assert (opened.size, opened.getexif()[0x0112]) == ((4, 8), 6)


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM'])
def test_whole_files_are_taken(kind):
    file = encoded(noise(), kind)
    check_encoded(file, 'it')
    assert decode_image(file).shape == (40, 30, 3)


@pytest.mark.parametrize('kind', JPEGS)
def test_a_whole_jpeg_is_taken_also_with_bytes_after_its_end(kind):
    check_encoded(JPEGS[kind], 'it')
    check_encoded(JPEGS[kind] + b'\0' * 10, 'it')


@given(kind=st.sampled_from(sorted(JPEGS)), share=st.floats(0, 1, exclude_max=True))
def test_a_jpeg_cut_anywhere_is_refused(kind, share):
    whole = JPEGS[kind]
    with pytest.raises(InputError, match=r'^the upload (is|has)'):
        check_encoded(whole[: int(share * len(whole))], 'the upload')


@pytest.mark.parametrize('missing', range(1, 5))
def test_a_jpeg_that_lacks_its_last_bytes_is_refused(missing):
    with pytest.raises(InputError, match='truncated JPEG'):
        check_encoded(JPEGS['baseline'][:-missing], 'the upload')


def test_a_photo_with_a_second_view_is_refused_when_the_first_is_cut():
    picture = Image.fromarray(noise())
    whole = encoded(picture, 'MPO', save_all=True, append_images=[picture])
    check_encoded(whole, 'it')
    with pytest.raises(InputError, match='truncated JPEG'):
        check_encoded(whole[: len(whole) // 3], 'it')


@given(cut=st.integers(0, len(PNG) - 1))
def test_a_png_cut_anywhere_is_refused_unless_all_pixels_are_there(cut):
    try:
        check_encoded(PNG[:cut], 'it')
    except InputError:
        return
    assert np.array_equal(decode_image(PNG[:cut]), noise())


@pytest.mark.parametrize('cut', [0, 1, 8, 20, 33, 40, len(PNG) // 2, len(PNG) - 13, len(PNG) - 12])
def test_a_png_without_its_end_is_refused(cut):
    with pytest.raises(InputError):
        check_encoded(PNG[:cut], 'it')


@pytest.mark.filterwarnings('ignore::UserWarning:PIL')  # PIL also warns of some damage
@given(data=st.data(), kind=st.sampled_from(['PNG', 'JPEG', 'GIF', 'BMP', 'TIFF', 'WEBP']))
def test_damage_anywhere_is_one_clear_error_or_none(data, kind):
    file = bytearray(encoded(noise(12, 10), kind))
    for _ in range(data.draw(st.integers(1, 5))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        check_encoded(bytes(file), 'the upload')
    except InputError as error:
        assert str(error).startswith('the upload ')


@given(data=st.data())
def test_damaged_pixels_are_one_clear_error_or_still_an_image(data):
    file = bytearray(encoded(noise(12, 10), data.draw(st.sampled_from(['PNG', 'JPEG']))))
    for _ in range(data.draw(st.integers(1, 5))):
        file[data.draw(st.integers(len(file) // 2, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert decode_image(bytes(file)).shape == (12, 10, 3)
    except InputError as error:
        assert str(error).startswith('the image ')


@given(junk=st.binary())
def test_other_bytes_are_refused(junk):
    for function in (lambda: check_encoded(junk, 'the upload'), lambda: decode_image(junk)):
        with pytest.raises(InputError):
            function()


@pytest.mark.parametrize(
    ('file', 'words'),
    [
        (b'', 'the upload is empty'),
        (b'hello, I am a text', 'the upload is not an image: expected an encoded image such as JPEG or PNG'),
        (
            b'\x89PNG\r\n\x1a\n' + png_chunk(b'IHDR', b'\0\0\0\1\0\0\0\1\x08\x02\0\0\0') + png_chunk(b'IEND'),
            'damaged',
        ),
        (png_claiming(9000, 9000), '9000 x 9000 pixels: at most 80,000,000'),
        (png_claiming(9500, 9500), '9500 x 9500 pixels: at most 80,000,000'),  # where PIL would warn
        (png_claiming(60_000, 60_000), '60000 x 60000 pixels: at most 80,000,000'),  # where PIL would refuse
        (png_claiming(0, 7), 'the upload '),
    ],
    ids=['empty', 'text', 'no pixels', 'large', 'larger', 'huge', 'no width'],
)
def test_bad_files_are_refused_in_one_sentence(file, words):
    with pytest.raises(InputError, match=words) as caught:
        check_encoded(file, 'the upload')
    assert str(caught.value).count('the upload') == 1


@pytest.mark.parametrize(
    'shape', [(), (0,), (9,), (0, 4, 3), (4, 0, 3), (4, 4, 0), (4, 0), (2, 4, 4, 3), (5, 5, 2), (5, 6, 7)]
)
def test_arrays_of_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match=r'has shape .*expected'):
        rgb_from_array(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    'kind', [float, np.float32, bool, np.int64, np.int8, np.uint16, object, complex, 'U1', 'M8[s]']
)
def test_arrays_of_other_types_are_refused(kind):
    with pytest.raises(InputError, match='expected uint8 from 0 to 255'):
        rgb_from_array(np.zeros((4, 4, 3), kind))


@pytest.mark.parametrize('shape', [(9000, 9000, 3), (3, 9000, 9000), (9000, 9000), (1, MAX_PIXELS + 1)])
def test_too_many_pixels_are_refused_before_they_are_copied(shape):
    array = np.broadcast_to(np.uint8(0), shape)  # one byte, however large it looks
    with pytest.raises(InputError, match='at most 80,000,000 are taken'):
        rgb_from_array(array)


def test_the_limit_of_pixels_can_be_moved():
    for check, image in (
        (lambda image, limit: check_encoded(image, 'it', limit), PNG),
        (rgb_from_pil, Image.fromarray(noise())),
        (rgb_from_array, noise()),
    ):
        check(image, 1200)
        with pytest.raises(InputError, match=r'40 pixels: at most 1,199 are taken; .*max_pixels|30 x 40'):
            check(image, 1199)


@pytest.mark.parametrize('side', [9500, 20_000])
def test_a_raised_limit_goes_beyond_that_of_pil(side):
    check_encoded(png_claiming(side, side), 'it', side * side)
    with pytest.raises(InputError, match=r'at most 80,000,000 are taken; scale it down$'):
        decode_image(png_claiming(side, side))  # by a model: not to be raised by those who ask


def test_a_lazily_opened_picture_is_refused_before_its_pixels_are_decoded():
    with pytest.raises(InputError, match='9000 x 9000 pixels'):
        rgb_from_pil(Image.open(io.BytesIO(png_claiming(9000, 9000))))


@pytest.mark.parametrize('size', [(0, 0), (0, 5), (5, 0)])
def test_a_picture_without_pixels_is_refused(size):
    with pytest.raises(InputError, match=f'{size[0]} x {size[1]} pixels'):
        rgb_from_pil(Image.new('RGB', size))


def test_a_picture_whose_file_is_cut_or_closed_is_refused():
    with pytest.raises(InputError, match='the image is damaged'):
        rgb_from_pil(Image.open(io.BytesIO(JPEGS['baseline'][:900])))
    closed = Image.open(io.BytesIO(PNG))
    closed.close()
    with pytest.raises(InputError, match='the image is damaged'):
        rgb_from_pil(closed)


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 10 10
%%EndComments
(hello) print showpage
%%EOF
"""


@pytest.mark.parametrize('use', [decode_image, lambda data: check_encoded(data, 'the image')])
def test_postscript_never_starts_an_interpreter(use, tmp_path, monkeypatch):
    (tmp_path / 'gs').write_text(f'#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n')
    (tmp_path / 'gs').chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    with pytest.raises(InputError, match=r'is not an image: .* taken are JPEG, PNG, GIF'):
        use(EPS)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('kind', ['EPS', 'PCX', 'TGA', 'SGI', 'XBM'])
def test_kinds_that_hardly_anyone_uses_are_refused(kind):
    picture = Image.fromarray(noise()).convert('1' if kind == 'XBM' else 'RGB')
    with pytest.raises(InputError, match='is not an image'):
        decode_image(encoded(picture, kind))


def test_every_kind_that_the_error_names_can_be_read():
    with pytest.raises(InputError) as caught:
        decode_image(b'no image')
    for kind in str(caught.value).rpartition(' taken are ')[2].split(', '):
        assert decode_image(encoded(noise(32, 32), kind)).shape == (32, 32, 3)


def test_a_jpeg_of_several_pictures_is_taken():
    file = encoded(noise(), 'MPO', save_all=True, append_images=[Image.fromarray(noise(4, 4))])
    assert Image.open(io.BytesIO(file)).format == 'MPO'
    check_encoded(file, 'it')
    assert decode_image(file).shape == (40, 30, 3)


# -- how they are cut for models

SIDES = st.integers(1, 300)


@given(SIDES, SIDES, st.integers(1, 40), st.integers(1, 40))
@example(1, 300, 40, 1)
def test_the_middle_fills_what_is_asked_for(height, width, rows, columns):
    assert middle(noise(height, width), rows, columns).shape == (rows, columns, 3)


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_photo_is_scaled_as_a_whole_and_then_cut(height, width):
    short = min(height, width)
    assume(max(height, width) <= OBLONG * short)
    size = 32 * width // short, 32 * height // short
    scaled = np.asarray(Image.fromarray(noise(height, width)).resize(size, Image.Resampling.BICUBIC))
    top, left = (size[1] - 32) // 2, (size[0] - 32) // 2
    assert np.array_equal(middle(noise(height, width), 32, 32), scaled[top : top + 32, left : left + 32])


@given(SIDES, SIDES, st.floats(0.1, 10))
def test_the_core_is_around_the_middle_and_never_long(height, width, aspect):
    part = core(np.arange(height * width).reshape(height, width, 1), aspect)
    rows, columns = part.shape[:2]
    assert rows == height or columns == width
    assert (columns - 1) <= OBLONG * rows * aspect
    assert (rows - 1) <= OBLONG * columns / aspect
    first, last = int(part[0, 0, 0]), int(part[-1, -1, 0])
    above, left = divmod(first, width)
    below, right = height - 1 - last // width, width - 1 - last % width
    assert 0 <= below - above <= 1
    assert 0 <= right - left <= 1


@pytest.mark.parametrize('shape', [(1, 1_000_000), (1_000_000, 1)])
def test_a_strip_is_scaled_no_further_than_a_cut_shows(shape, monkeypatch):
    sizes, resize = [], Image.Image.resize
    monkeypatch.setattr(
        Image.Image, 'resize', lambda image, size, *rest: sizes.append(size) or resize(image, size, *rest)
    )
    assert middle(noise(*shape), 224, 224).shape == (224, 224, 3)
    assert sorted(sizes[0]) == [224, 224 * OBLONG]
