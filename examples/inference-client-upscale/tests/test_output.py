"""What is written: where the caller says, and nothing over what was there."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from docarray import Document
from inference_client_upscale.output import Output
from inference_client_upscale.task import UpscaleTask
from PIL import Image

from inference_client import Client, InputError


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / 'photo.png'
    Image.new('RGB', (6, 4)).save(path)
    return path


def upscale(folder, *arguments, code=0):
    """What the command prints, or where it fails, its error."""
    command = [sys.executable, '-m', 'inference_client', 'upscale', *map(str, arguments)]
    done = subprocess.run(command, cwd=str(folder), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def files(folder):
    return sorted(path.name for path in folder.iterdir())


# -- the command


@pytest.mark.parametrize(
    ('name', 'options', 'expected'),
    [
        ('a.png', [], 'PNG'),
        ('a.PNG', [], 'PNG'),
        ('a.jpg', [], 'JPEG'),
        ('a', [], 'JPEG'),
        ('a.png', ['--format', 'jpeg'], 'JPEG'),
        ('a.jpg', ['--quality', '20'], 'JPEG'),
    ],
)
def test_one_image_to_a_file(tmp_path, photo, name, options, expected):
    told = upscale(tmp_path, photo, '--scale', '12:-1', '--output', name, *options)
    assert json.loads(told) == {'input': str(photo), 'width': 12, 'height': 8}
    with Image.open(tmp_path / name) as image:
        assert (image.format, image.size) == (expected, (12, 8))
    assert files(tmp_path) == sorted(['photo.png', name])


@pytest.mark.parametrize('made', [False, True])
def test_several_images_to_a_directory(tmp_path, photo, made):
    if made:
        (tmp_path / 'large').mkdir()
    told = upscale(
        tmp_path, photo, photo, '--scale', '0:9', '--output', 'large' if made else 'large/', '--format', 'png'
    )
    assert len(told.splitlines()) == 2
    assert files(tmp_path / 'large') == ['000000.png', '000001.png']


def test_several_images_to_a_file(tmp_path, photo):
    error = upscale(tmp_path, photo, photo, '--scale', '0:9', '--output', 'large', code=1)
    assert 'give a directory, ending with /' in error
    assert files(tmp_path) == ['photo.png']


def test_a_file_is_not_overwritten_unless_it_is_said(tmp_path, photo):
    error = upscale(tmp_path, photo, '--scale', '12:8', '--output', photo, code=1)
    told = f"output_path: cannot write to '{photo}': it exists; choose another, or give overwrite=True"
    assert error == f'Error: upscale on local://upscale: {told}\n'
    with Image.open(photo) as image:
        assert image.size == (6, 4)
    upscale(tmp_path, photo, '--scale', '12:8', '--output', photo, '--overwrite')
    with Image.open(photo) as image:
        assert image.size == (12, 8)


def test_a_failure_writes_nothing(tmp_path, photo):
    error = upscale(tmp_path, photo, 'no-such.png', '--scale', '12:8', '--output', 'large/', code=1)
    assert 'no-such.png' in error
    assert files(tmp_path) == ['photo.png']


# -- the task


@pytest.fixture
def model():
    with Client(trust_env=False) as client:
        yield client.get_model('local://upscale')


def test_what_is_written_is_what_is_returned(model, photo, tmp_path):
    answered = model.upscale(image=str(photo), scale='12:8', output_path=tmp_path / 'large.png')
    assert (tmp_path / 'large.png').read_bytes() == answered[0].blob
    answered = model.upscale(docs=answered, scale='24:0', output_path=f'{tmp_path}/all/')
    assert (tmp_path / 'all' / '000000.jpeg').read_bytes() == answered[0].blob


def test_the_path_is_not_sent(tmp_path):
    call = UpscaleTask().prepare(
        image=Image.new('RGB', (1, 1)), scale='8:8', output_path=tmp_path / 'x', overwrite=True
    )
    assert call.parameters == {'scale': '8:8', 'image_format': 'jpeg'}
    assert 'x' not in [document.uri for document in call.documents]


def test_nothing_is_asked_of_the_model_where_nothing_can_be_written(model, photo):
    with pytest.raises(InputError, match='it exists'):
        model.upscale(image=iter(int, 1), scale='12:8', output_path=photo)


def test_items_that_fail_alone_leave_their_number_out(model, photo, tmp_path):
    images = [str(photo), 'no-such.png', str(photo)]
    answered = model.upscale(image=images, scale='12:8', output_path=f'{tmp_path}/all/', on_item_error='return')
    assert 'no-such.png' in answered[1].tags['error']
    assert files(tmp_path / 'all') == ['000000.jpeg', '000002.jpeg']


def test_a_stream_is_not_written(model, photo, tmp_path):
    with pytest.raises(InputError, match='does not go with a stream'):
        model.stream('upscale', [str(photo)], scale='12:8', output_path=tmp_path / 'x')
    assert [document.tags['width'] for document in model.stream('upscale', [str(photo)] * 2, scale='12:8')] == [12, 12]


def test_results_that_cannot_be_written_are_not_lost(model, photo, tmp_path):
    def images():
        (tmp_path / 'large.png').write_text('precious')
        yield str(photo)

    with pytest.raises(InputError, match='an image cannot be written') as failure:
        model.upscale(image=images(), scale='12:8', output_path=tmp_path / 'large.png')
    assert len(failure.value.completed) == 1
    assert (tmp_path / 'large.png').read_text() == 'precious'


def test_an_answer_does_not_say_that_it_failed(tmp_path):
    task = UpscaleTask()
    task.prepare(image=Image.new('RGB', (6, 4)), scale='8:8', image_format='png', output_path=tmp_path / 'x')
    (document,) = documents()
    document.tags.update(width=6, height=4, error='not written')
    task.collect([task.accept(document)])
    assert (tmp_path / 'x').read_bytes() == document.blob


# -- places


def documents(count=1):
    file = io.BytesIO()
    Image.new('RGB', (6, 4)).save(file, 'PNG')
    return [Document(id='../../evil', uri='/tmp/evil', blob=file.getvalue(), tags={'output_path': 'evil'})] * count


def test_what_an_answer_says_has_no_say_in_the_name(tmp_path):
    Output(tmp_path / 'out.png', False).write(documents(), 'png')
    Output(f'{tmp_path}/all/', False).write(documents(2), 'png')
    assert files(tmp_path) == ['all', 'out.png']
    assert files(tmp_path / 'all') == ['000000.png', '000001.png']


def test_a_directory_that_holds_something(tmp_path):
    (tmp_path / '000000.png').write_text('old')
    with pytest.raises(InputError, match='the directory is not empty'):
        Output(tmp_path, False)
    Output(tmp_path, True).write(documents(), 'png')
    assert (tmp_path / '000000.png').read_bytes() == documents()[0].blob


@pytest.mark.parametrize('name', ['no/such/file', 'file/', 'link'])
def test_places_that_cannot_be(tmp_path, name):
    (tmp_path / 'file').write_text('precious')
    (tmp_path / 'link').symlink_to(tmp_path / 'nowhere')
    with pytest.raises(InputError, match='cannot write to'):
        Output(f'{tmp_path}/{name}', False)
    assert (tmp_path / 'file').read_text() == 'precious'
    assert not (tmp_path / 'nowhere').exists()


@pytest.mark.parametrize('path', ['', None, 5, b'x'])
def test_what_is_no_path(path):
    with pytest.raises(InputError, match='expected a path'):
        Output(path, False)


def test_a_file_that_came_to_exist_meanwhile(tmp_path):
    output = Output(tmp_path / 'out.png', False)
    (tmp_path / 'out.png').write_text('precious')
    with pytest.raises(InputError, match='an image cannot be written'):
        output.write(documents(), 'png')
    assert (tmp_path / 'out.png').read_text() == 'precious'
