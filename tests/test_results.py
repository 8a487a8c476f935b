"""What tasks give, and how it shows itself in notebooks and terminals."""

from __future__ import annotations

import asyncio
import base64
import io
import math
import pickle
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from docarray import Document, DocumentArray
from docarray.array.memory import DocumentArrayInMemory
from hypothesis import given
from hypothesis import strategies as st
from isolated import output_of
from PIL import Image as PILImage
from rich.cells import cell_len
from strategies import ODD_TEXTS, data_uri, encoded, noise, texts

from inference_client import Results
from inference_client._html import DOCUMENTS, LARGE, MATCHES, html_of
from inference_client._shown import IMAGES
from inference_client._text import lines_of, text_of
from inference_client.testing import FakeTransport, async_client_for, client_for

TASKS = {
    'encode': {'image': 'PHOTO'},
    'rank': {'reference': 'PHOTO', 'candidates': ['a cat', 'a dog']},
    'caption': {'image': 'PHOTO'},
    'vqa': {'image': 'PHOTO', 'question': 'a cat?'},
}
PICTURE = re.compile(r'data:image/jpeg;base64,([A-Za-z0-9+/=]+)')


def scored(document, *scores):
    for name, value in zip(('clip_score', 'clip_score_cosine'), scores):
        document.scores[name].value = value
    return document


def ranked(reference, *candidates):
    return Document(reference, matches=[scored(one, 1 / (i + 1), 0.1) for i, one in enumerate(candidates)])


def pictures(html):
    return [PILImage.open(io.BytesIO(base64.b64decode(one))) for one in PICTURE.findall(html)]


@pytest.fixture
def model():
    with client_for(FakeTransport()) as client:
        yield client.get_model('blip2')


def asked(model, task, photo):
    return model.run(task, **{name: photo if value == 'PHOTO' else value for name, value in TASKS[task].items()})


# -- a DocumentArray, as ever


@pytest.mark.parametrize('task', TASKS)
def test_what_a_task_gives_is_a_document_array(model, photo, task):
    answered = asked(model, task, photo)
    assert isinstance(answered, Results)
    assert isinstance(answered, DocumentArray().__class__)
    plain = DocumentArray(list(answered))
    assert type(plain) is DocumentArrayInMemory
    assert answered == plain
    assert plain == answered
    assert answered != DocumentArray([Document(text='another')])
    assert answered != list(answered)
    assert answered[0].uri == photo
    assert not answered[0].blob
    assert answered.to_protobuf() == plain.to_protobuf()
    assert model.encode(docs=answered)[0].embedding is not None


def test_of_an_event_loop_too(photo):
    async def captioned():
        async with async_client_for(FakeTransport()) as client:
            return await (await client.get_model('blip2')).caption(image=[photo])

    answered = asyncio.run(captioned())
    assert answered.files == {photo}
    assert len(pictures(answered._repr_html_())) == 1


def test_parts_of_it_show_themselves_too(model, photo):
    answered = model.encode(image=[photo, photo])
    for part in (
        answered[:1],
        answered[[0]],
        answered[[True, False]],
        answered + DocumentArray(Document()),
        Results(answered),
    ):
        assert isinstance(part, Results)
        assert part.files == {photo}
    assert isinstance(answered[0], Document)
    assert answered[:, 'uri'] == [photo, photo]
    answered.append(Document(text='more'))
    assert len(answered) == 3
    assert answered[-1].text == 'more'


@given(st.lists(texts(), max_size=3))
def test_it_is_pickled_as_a_plain_one(held):
    held = [Document(text=text) for text in held]
    pickled = pickle.dumps(Results(held, files=['a']))
    assert b'inference_client' not in pickled
    again = pickle.loads(pickled)
    assert type(again) is DocumentArrayInMemory
    assert again == Results(held)


def test_the_plain_results_of_a_plugin_stay_what_they_are(model):
    from inference_client.tasks.encode import EncodeTask

    class Listed(EncodeTask):
        def collect(self, answered):
            return list(answered)

    assert type(model.run(Listed, text='a')) is list


def test_importing_it_imports_nothing_that_draws():
    code = 'import sys\nfrom inference_client import Results\nprint(*{names} & set(sys.modules))'
    assert output_of(code.format(names={'PIL', 'html', 'matplotlib', 'inference_client._html'})) == ''


# -- pictures


@pytest.mark.parametrize('task', TASKS)
def test_the_picture_of_a_file_that_the_caller_named(model, photo, task):
    (picture,) = pictures(asked(model, task, photo)._repr_html_())
    assert picture.size == (LARGE, round(LARGE * 300 / 451))
    assert np.asarray(picture).std() > 10


@pytest.mark.parametrize('field', ['blob', 'tensor', 'uri'])
def test_the_picture_that_a_document_holds(field):
    pixels = np.zeros((40, 200, 3), np.uint8)
    pixels[:, :100] = 255
    png = encoded(PILImage.fromarray(pixels))
    document = Document(**{field: {'blob': png, 'tensor': pixels, 'uri': data_uri(png)}[field]})
    (picture,) = pictures(html_of([document]))
    assert picture.width == LARGE
    shown = np.asarray(picture.convert('L')).astype(int)
    assert shown[5, 5] > 240
    assert shown[5, -5] < 15


def test_the_pictures_of_candidates(model, photo):
    second = photo.replace('chelsea.png', 'rocket.jpg')
    answered = model.rank(reference='a cat', candidates=[photo, 'a dog', second])
    assert answered.files == {photo, second}
    assert len(pictures(answered._repr_html_())) == 2


def test_a_file_that_a_server_named_is_not_read(photo):
    def answer(request):
        return [Document(id=one.id, uri=photo, tags={'response': 'see'}, text='x') for one in request.documents]

    with client_for(FakeTransport(answer)) as client:
        other = photo.replace('chelsea.png', 'rocket.jpg')
        answered = client.get_model('blip2').caption(image=other)
    answered[0].text = ''
    assert answered[0].uri == photo
    assert answered.files == {other}
    assert pictures(answered._repr_html_()) == []
    assert len(pictures(Results(answered, files=[photo])._repr_html_())) == 1


def test_nothing_is_fetched_and_no_other_file_is_read(photo):
    """Also where an address is among the names that the caller gave."""
    printed = output_of(
        """
        import sys
        from docarray import Document
        from inference_client import Results
        photo = sys.argv[1] if len(sys.argv) > 1 else PHOTO
        names = ['http://127.0.0.1:1/x.png', 'HTTPS://localhost/x.png', 'file://' + photo, photo, photo + '.png']
        results = Results([Document(uri=one) for one in (*names, '/etc/hostname')], files=names)
        results[:1]._repr_html_(), results._repr_html_()  # imports what it needs
        seen = []

        def watch(event, arguments):
            if event.startswith(('socket.', 'subprocess', 'urllib')) or event == 'open':
                seen.append((event, str(arguments[0])))

        sys.addaudithook(watch)
        html = results._repr_html_()
        print(html.count('data:image'), sorted(set(seen)) == [('open', photo)])
        """.replace('PHOTO', repr(photo))
    )
    assert printed == '2 True'


@pytest.mark.parametrize(
    'content', [b'\x89PNG\r\n\x1a\n', b'x', b'\xff\xd8\xff', np.ones((3, 3)), np.ones(3, np.uint8)]
)
def test_what_is_no_picture_is_left_out(content):
    held = {'tensor' if isinstance(content, np.ndarray) else 'blob': content}
    assert pictures(html_of([Document(**held)])) == []


@pytest.mark.parametrize('uri', ['data:', 'data:image/png;base64,!', 'data:image/png,', '\0.png', '.', '/no/such.png'])
def test_a_name_that_leads_to_nothing_is_shown_as_it_is(uri):
    assert pictures(html_of([Document(uri=uri)], files=[uri])) == []


def test_there_are_only_so_many_pictures_and_they_are_small():
    large = encoded(PILImage.fromarray(noise(600, 800)), 'JPEG')
    many = Results([ranked(Document(blob=large), *(Document(blob=large) for _ in range(30))) for _ in range(30)])
    html = many._repr_html_()
    shown = pictures(html)
    assert len(shown) == IMAGES
    assert max(max(one.size) for one in shown) == LARGE
    assert len(html) < 500_000
    assert html.count(f'and {30 - MATCHES} more') == DOCUMENTS
    assert f'and {30 - DOCUMENTS} more' in html


def test_huge_pictures_are_not_decoded(monkeypatch):
    monkeypatch.setattr('inference_client._shown.PIXELS', 1000)
    small, large = (encoded(PILImage.fromarray(noise(side, side))) for side in (20, 40))
    assert len(pictures(html_of([Document(blob=large)]))) == 0
    assert len(pictures(html_of([Document(blob=small)] * 3))) == 2


# -- what is said


@pytest.mark.parametrize(
    ('document', 'words'),
    [
        (Document(text='hello', embedding=np.array([3.0, 4.0], np.float32)), ['hello', 'float32 (2,), norm 5.000']),
        (Document(uri='x.png', tags={'response': 'a cat'}), ['x.png', 'a cat']),
        (Document(text='a', tags={'error': 'too long'}), ['Error: too long']),
        (Document(text='a', tags={'prompt': 'Question: a cat? Answer:', 'response': 'yes'}), ['Answer: yes']),
        (Document(blob=b'1234'), ['4 bytes']),
        (Document(tensor=np.zeros((2, 3))), ['array of shape (2, 3)']),
        (Document(), ['empty']),
        (Document(uri='https://me:secret@host/x.png?key=secret'), ['https://host/x.png']),
        (
            ranked(Document(text='r'), Document(text='a'), Document(text='b')),
            ['r', 'a', '1.000', 'b', '0.500', '0.100'],
        ),
        (Document(text='r', matches=[scored(Document(text='a'), math.nan)]), ['a', 'nan']),
        (Document(text='r', matches=[Document(text='not ranked')]), ['r']),
    ],
)
def test_words(document, words):
    for shown in (re.sub('<[^>]*>', ' ', html_of([document])), text_of([document])):
        for one in words:
            assert one in shown
        assert 'secret' not in shown


def test_of_nothing_something_is_said():
    assert 'no documents' in Results()._repr_html_()
    assert text_of([]) == 'no documents'


def test_only_the_first_are_said():
    many = Results([Document(text=f'text {i}') for i in range(30)])
    assert text_of(many).count('\n') == 20
    assert text_of(many).endswith('and 10 more')


# -- hostile data in HTML


class Structure(HTMLParser):
    """Tags with their attributes, whose values are kept where they are not of our own."""

    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.texts = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, [(name, '' if name == 'style' else value) for name, value in attributes]))

    def handle_endtag(self, tag):
        self.tags.append(f'/{tag}')

    def handle_data(self, data):
        self.texts.append(data)

    def handle_comment(self, data):
        raise AssertionError('a comment')

    handle_decl = handle_pi = unknown_decl = handle_comment


PIECES = [
    *('<', '>', '"', "'", '&', '&lt;', '&#60;', '<script>', '</div>', '<img src=x onerror=alert(1)>', '<!--', '-->'),
    *(']]>', '<![CDATA[', '" onload="', "' style='", '\\u003c', 'javascript:', '<?', '</', '<svg/onload=', *ODD_TEXTS),
]
HOSTILE = st.one_of(texts(), st.lists(st.one_of(st.sampled_from(PIECES), texts(0)), min_size=1).map(''.join))


def all_kinds(one):
    """Documents with a text wherever a document may have one."""
    return [
        Document(text=one),
        Document(uri=f'x{one}'),
        Document(uri=f'data:{one}'),
        Document(text=one, embedding=np.ones(2, np.float32)),
        Document(text='a', tags={'response': one, 'prompt': one}),
        Document(text='a', tags={'error': one}),
        Document(text='a', tags={one: one}),
        ranked(Document(text=one), Document(text=one), Document(uri=f'x{one}')),
    ]


@given(HOSTILE)
def test_no_tag_or_attribute_of_data_survives(hostile):
    shown = Structure(html_of(all_kinds(hostile)))
    assert shown.tags == Structure(html_of(all_kinds('harmless'))).tags
    assert {one[0] for one in shown.tags if isinstance(one, tuple)} == {'div'}


@given(st.text('abc<>&"\' ', min_size=1, max_size=100).filter(str.strip))
def test_what_was_escaped_reads_as_it_was(text):
    assert text in ''.join(Structure(html_of([Document(text=text)])).texts)


@given(HOSTILE)
def test_styles_are_of_our_own(hostile):
    html = html_of(all_kinds(hostile))
    styles = set(re.findall(r'<[a-z]+ style="([^"]*)"', html))
    assert styles == set(re.findall(r'<[a-z]+ style="([^"]*)"', html_of(all_kinds('harmless'))))
    html.encode()  # no lone surrogate


# -- hostile data in terminals


@given(HOSTILE, st.integers(30, 200))
def test_a_terminal_gets_no_control_characters(hostile, width):
    for document in all_kinds(hostile):
        for line in lines_of(document, width):
            assert all(one.isprintable() or one in '\u200c\u200d' for one in line)


@given(HOSTILE, st.integers(60, 200), st.booleans())
def test_the_lines_of_a_ranking_fit(hostile, width, blocks):
    document = ranked(Document(text=hostile), Document(text=hostile), Document(uri=f'x{hostile}'), Document(text='a'))
    for line in lines_of(document, width, blocks):
        assert cell_len(line) <= width


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.booleans())
def test_bars_are_as_long_as_scores_are_high(scores, blocks):
    document = Document(text='r', matches=[scored(Document(text='a'), one) for one in sorted(scores, reverse=True)])
    _, *lines = lines_of(document, 80, blocks)
    bars = [re.sub(r'[^█▏▎▍▌▋▊▉#]', '', line) for line in lines]
    assert [len(bar) for bar in bars] == sorted(map(len, bars), reverse=True)
    for bar, score in zip(bars, sorted(scores, reverse=True)):
        assert abs(len(bar) / 30 - score) <= 1 / 30
        assert set(bar) <= (set('█▏▎▍▌▋▊▉') if blocks else {'#'})
