"""OpenAI-style servers: the tasks, the kinds of servers, and what each of them lacks."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from docarray import Document, DocumentArray
from doors import DOORS
from PIL import Image
from rest_kit import encoded
from rest_servers import (
    LlamaCppServer,
    LMStudioServer,
    OllamaServer,
    OpenAIServer,
    VllmServer,
    from_data_uri,
    relevances,
    serving,
)

from inference_client import (
    ConfigurationError,
    InputError,
    ModelNotFoundError,
    ProtocolError,
    Request,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    UnsupportedTaskError,
)
from inference_client.engines.handler import handle
from inference_client.testing import FakeEngine

ONCE = RetryPolicy(attempts=1)


@pytest.fixture(params=DOORS)
def open_model(request):
    """Gives the model behind a URL, through the blocking and the asynchronous door."""
    with DOORS[request.param](trust_env=False, retry=ONCE) as client:
        yield client.get_model


def local(task, documents, **parameters):
    """What the model of these servers answers in this process."""
    return handle(FakeEngine(), Request(f'/{task}', DocumentArray(documents), parameters))


def url_of(server, options=''):
    return f'openai+{server.url}/v1{options}'


def scores(match):
    return {name: match.scores[name].value for name in match.scores}


# -- the model


def test_without_a_name_it_is_the_only_model(open_model):
    with serving(OpenAIServer()) as server:
        model = open_model(url_of(server))
        model.encode(text='a')
        model.encode(text='b')
        assert [asked.path for asked in server.asked] == ['/v1/models', '/v1/embeddings', '/v1/embeddings']


@pytest.mark.parametrize(('models', 'words'), [((), 'has none'), (('a', 'b'), 'has a, b: add .model=')])
def test_several_models_must_be_told_apart(open_model, models, words):
    with serving(OpenAIServer(models=models)) as server, pytest.raises(ConfigurationError, match=words):
        open_model(url_of(server)).encode(text='a')


def test_names_of_models_bring_no_escape_characters(open_model):
    with serving(OpenAIServer(models=('a\x1b[31m', 'b'))) as server, pytest.raises(ConfigurationError) as caught:
        open_model(url_of(server)).encode(text='a')
    assert 'has a [31m, b: add' in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_model_that_is_not_there(open_model):
    with serving(OllamaServer()) as server, pytest.raises(ModelNotFoundError, match='try pulling it first'):
        open_model(url_of(server, '?model=other')).encode(text='a')


# -- encode


def test_texts_are_embedded(open_model):
    texts = ['a', 'caf\u00e9', 'a long text ' * 100]
    with serving(OpenAIServer(reverse=True)) as server:
        answers = open_model(url_of(server)).encode(text=texts, dimensions=8)
        assert server.asked[-1].body['dimensions'] == 8
    expected = local('encode', [Document(text=text) for text in texts])
    assert [one.text for one in answers] == texts
    assert np.allclose([one.embedding for one in answers], [one.embedding for one in expected], atol=1e-6)
    assert answers[0].embedding.dtype == np.float32


KINDS = {
    'vllm': lambda: VllmServer(),
    'vllm of old': lambda: VllmServer(cohere=False),
    'llama.cpp': lambda: LlamaCppServer(),
    'llama.cpp of old': lambda: LlamaCppServer(marker='<__media__>'),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('told', [False, True])
def test_images_and_texts_are_embedded(open_model, kind, told):
    """The same whether the URL says what kind of server it is, or the server does."""
    documents = [
        Document(text='a'),
        Document(blob=encoded('PNG', 1)),
        Document(text='b'),
        Document(blob=encoded('PNG', 2)),
    ]
    with serving(KINDS[kind]()) as server:
        dialect = 'llamacpp' if 'llama' in kind else 'vllm'
        model = open_model(url_of(server, f'?dialect={dialect}' if told else ''))
        answers = model.encode(docs=DocumentArray(documents))
        again = model.encode(image=[encoded('PNG', 3)] * 3)
    expected = local('encode', [Document(one, copy=True) for one in documents])
    assert np.allclose([one.embedding for one in answers], [one.embedding for one in expected], atol=1e-6)
    assert len(again) == 3


@pytest.mark.parametrize('kind', [OpenAIServer, VllmServer, LlamaCppServer, OllamaServer])
@pytest.mark.parametrize('image', ['JPEG', 'PNG', 'WEBP', 'GIF', 'BMP'])
def test_every_server_reads_the_images_that_it_gets(open_model, kind, image):
    with serving(kind()) as server:
        model = open_model(url_of(server, f'?model={server.models[-1]}'))
        assert len(model.caption(image=encoded(image))) == 1
        if kind in (VllmServer, LlamaCppServer):
            assert len(model.encode(image=encoded(image))) == 1


def test_a_llama_cpp_without_a_version_in_its_url_embeds_texts(open_model):
    """Its own `/embeddings` answers with a list alone, of an embedding for each input in a list."""
    with serving(LlamaCppServer()) as server:
        answers = open_model(f'openai+{server.url}?model=m').encode(text=['a', 'b'])
        assert [asked.path for asked in server.asked] == ['/embeddings']
    expected = local('encode', [Document(text='a'), Document(text='b')])
    assert np.allclose([one.embedding for one in answers], [one.embedding for one in expected], atol=1e-6)


def test_what_was_found_out_is_remembered(open_model):
    with serving(VllmServer(cohere=False)) as server:
        model = open_model(url_of(server, '?model=openai/clip-vit-base-patch32'))
        for seed in range(3):
            model.encode(image=encoded('PNG', seed))
        paths = [asked.path for asked in server.asked]
    assert paths == ['/v1/models', '/v2/embed', *['/v1/embeddings'] * 3]


@pytest.mark.parametrize('kind', [OpenAIServer, OllamaServer, LMStudioServer])
def test_images_are_no_texts(open_model, kind):
    """A server that is not known to embed images gets none, least of all as the text of a data URI."""
    with serving(kind()) as server:
        model = open_model(url_of(server, f'?model={kind().models[0]}'))
        with pytest.raises(UnsupportedTaskError, match='embeds texts only'):
            model.encode(image=encoded('PNG'))
        with pytest.raises(UnsupportedTaskError, match='embeds texts only'):
            model.rank(reference='a', candidates=[encoded('PNG')])
        assert {asked.method for asked in server.asked} == {'GET'}


def test_a_text_that_is_too_long_for_llama_cpp_is_the_callers(open_model):
    """It answers 500, for any of several texts, and names a batch size that is none of theirs."""
    long = 'a' * 60
    with serving(LlamaCppServer(most_tokens=50, reranks=True)) as server:
        model = open_model(url_of(server, '?model=m'))
        with pytest.raises(InputError, match=r'too long for the server \(500\): input \(60 tokens\)'):
            model.encode(text=long, retry=RetryPolicy(attempts=3))
        with pytest.raises(InputError, match='60 tokens'):
            model.rank(reference='a', candidates=['b', long], retry=RetryPolicy(attempts=3))
        assert [asked.path for asked in server.asked] == ['/v1/embeddings', '/v1/rerank']
        answers = model.encode(text=[*'abcdefg', long], on_item_error='return')
        assert ['60 tokens' in one.tags.get('error', '') for one in answers] == [False] * 7 + [True]
        server.asked.clear()
        assert len(model.encode(text=[*'abcdefg'])) == 7
        assert len(server.asked) == 1  # how many there were was no matter


def test_a_llama_cpp_that_is_not_known_as_one_and_has_no_vision(open_model):
    """Behind a name that it does not list, it is known by its answer, which is a 500."""
    with serving(LlamaCppServer(vision=False)) as server:
        model = open_model(url_of(server, '?model=alias'))
        with pytest.raises(UnsupportedTaskError, match='image input is not supported'):
            model.caption(image=encoded('PNG'), retry=RetryPolicy(attempts=3))
        assert [asked.path for asked in server.asked] == ['/v1/models', '/v1/chat/completions']


def test_a_model_without_vision_gets_no_image(open_model):
    with serving(LlamaCppServer(vision=False)) as server:
        model = open_model(url_of(server))
        for task in ('encode', 'caption'):
            with pytest.raises(UnsupportedTaskError, match='takes no images'):
                model.run(task, image=encoded('PNG'))
        assert {asked.method for asked in server.asked} == {'GET'}
        assert len(model.encode(text='a')) == 1


# -- rank


def test_texts_are_ranked_by_the_reranker(open_model):
    candidates = ['b', 'c', 'd']
    with serving(VllmServer()) as server:
        (answer,) = open_model(url_of(server)).rank(reference='a', candidates=candidates)
        assert server.asked[-1].body['top_n'] == 3
    expected = dict(zip(candidates, relevances(['a', *candidates])))
    found = {match.text: scores(match) for match in answer.matches}
    assert {text: one['relevance_score'] for text, one in found.items()} == pytest.approx(expected)
    assert [match.text for match in answer.matches] == sorted(expected, key=expected.get, reverse=True)
    assert sum(one['clip_score'] for one in found.values()) == pytest.approx(1)


@pytest.mark.parametrize('kind', [OpenAIServer, LlamaCppServer, OllamaServer, LMStudioServer])
def test_without_a_reranker_cosines_rank(open_model, kind):
    """As a model in this process ranks; that there is none is asked once."""
    with serving(kind()) as server:
        model = open_model(url_of(server, f'?model={server.models[0]}'))
        (answer,) = model.rank(reference='a', candidates=['b', 'c', 'd'])
        model.rank(reference='a', candidates=['b'])
        paths = [asked.path for asked in server.asked]
    assert paths == ['/v1/rerank', '/v1/embeddings', '/v1/embeddings']
    (expected,) = local('rank', [Document(text='a', matches=[Document(text=text) for text in 'bcd'])])
    assert [match.text for match in answer.matches] == [match.text for match in expected.matches]
    for match, other in zip(answer.matches, expected.matches):
        assert scores(match) == pytest.approx(scores(other), abs=1e-5)


def test_images_are_ranked_by_cosines(open_model):
    with serving(VllmServer()) as server:
        (answer,) = open_model(url_of(server)).rank(reference=encoded('PNG'), candidates=['a', encoded('PNG', 1)])
        assert '/v1/rerank' not in [asked.path for asked in server.asked]
    assert set(scores(answer.matches[0])) == {'clip_score', 'clip_score_cosine'}


def test_more_candidates_than_the_server_takes(open_model):
    candidates = [f'text {number}' for number in range(10)]
    with serving(VllmServer(most=4)) as server:
        (answer,) = open_model(url_of(server)).rank(reference='a', candidates=candidates)
        counts = [len(asked.body['documents']) for asked in server.asked if asked.path == '/v1/rerank']
    assert counts == [10, 4, 4, 2]
    found = {match.text: match.scores['relevance_score'].value for match in answer.matches}
    assert found == pytest.approx(dict(zip(candidates, relevances(['a', *candidates]))))


def test_a_model_that_the_reranker_does_not_know_is_an_error(open_model):
    with serving(VllmServer()) as server, pytest.raises(ModelNotFoundError, match='does not exist'):
        open_model(url_of(server, '?model=other')).rank(reference='a', candidates=['b'])


@pytest.mark.parametrize(
    ('results', 'words'),
    [
        ([{'index': 0, 'relevance_score': None}], 'relevance_score None'),
        ([{'index': 1, 'relevance_score': 1}], 'index 1'),
        ([], '1 inputs were sent and 0'),
        (None, 'no list results'),
    ],
)
def test_a_ranking_that_is_of_no_use(open_model, results, words):
    with serving(VllmServer()) as server:
        server.faults.append((200, {}, {'results': results}))
        with pytest.raises(ProtocolError, match=words):
            open_model(url_of(server, '?model=m')).rank(reference='a', candidates=['b'])


# -- caption and vqa


def test_images_are_described(open_model):
    images = [encoded('JPEG', seed) for seed in range(5)]
    with serving(OpenAIServer()) as server:
        model = open_model(url_of(server))
        answers = model.caption(image=images, max_tokens=20, temperature=0)
        calls = [asked.body for asked in server.asked if asked.path == '/v1/chat/completions']
    assert [one.tags['response'] for one in answers] == [
        'an image of 7 x 9 pixels <- Describe this image in one short sentence.'
    ] * 5
    assert len(calls) == 5
    assert all((body['max_tokens'], body['temperature']) == (20, 0) for body in calls)
    sent = sorted(from_data_uri(body['messages'][0]['content'][0]['image_url']['url']) for body in calls)
    assert sent == sorted(images)


def test_several_images_are_described_at_the_same_time(open_model):
    """They are one batch of the call, and a request each; as many are under way as `prefetch` says."""
    with serving(OpenAIServer(seconds=0.2)) as server:
        model = open_model(url_of(server, f'?model={server.models[0]}'))
        model.caption(image=encoded('PNG'))
        model.caption(image=[encoded('PNG', seed) for seed in range(4)], prefetch=2)
    assert server.busiest == 2


@pytest.mark.parametrize(
    'fault', [(404, {}, b''), (403, {}, {'error': 'missing scope api.model.read'}), (200, {}, {'models': []})]
)
def test_who_may_not_see_the_models_may_chat(open_model, fault):
    with serving(OpenAIServer()) as server:
        server.faults.append(fault)
        model = open_model(url_of(server, f'?model={server.models[0]}'))
        assert len(model.caption(image=encoded('PNG'))) == 1
        assert [asked.path for asked in server.asked] == ['/v1/models', '/v1/chat/completions']


@pytest.mark.parametrize('said', ['At most 0 image(s) may be provided in one prompt.', 'm is not a multimodal model'])
def test_a_model_that_sees_nothing_says_so(open_model, said):
    with serving(VllmServer()) as server:
        model = open_model(url_of(server))
        model.encode(text='a')
        server.faults.append((400, {}, server.error(said)))
        with pytest.raises(UnsupportedTaskError, match=re.escape(said)):
            model.caption(image=encoded('PNG'))


@pytest.mark.parametrize('status', [402, 403, 404, 501])
def test_who_may_not_see_the_properties_may_chat(open_model, status):
    with serving(LlamaCppServer()) as server:
        server.faults.extend([None, (status, {}, server.error('not for you'))])
        model = open_model(url_of(server, '?model=model.gguf'))
        assert len(model.caption(image=encoded('PNG'))) == 1
        assert [asked.path for asked in server.asked] == ['/v1/models', '/props', '/v1/chat/completions']


@pytest.mark.parametrize('status', [429, 500, 502, 503])
def test_properties_that_cannot_be_seen_for_now_are_asked_for_again(open_model, status):
    """Without them the marker of an image would be another."""
    with serving(LlamaCppServer()) as server:
        server.faults.extend([None, (status, {}, server.error('not now'))])
        model = open_model(url_of(server, '?model=model.gguf'))
        with pytest.raises(ServerError, match='not now'):
            model.encode(image=encoded('PNG'))
        assert len(model.encode(image=encoded('PNG'))) == 1
        assert [asked.path for asked in server.asked] == ['/v1/models', '/props', '/props', '/embeddings']


@pytest.mark.parametrize('options', ['', '?dialect=llamacpp'])
def test_a_llama_cpp_that_loads_is_not_ready(open_model, options):
    """It tells of its models before."""
    with serving(LlamaCppServer(loading=True)) as server:
        model = open_model(url_of(server, options))
        with pytest.raises(RequestTimeoutError, match='Loading model'):
            model.wait_until_ready(0.3)
        server.loading = False
        assert model.is_ready()
        assert model.capabilities().embedding_size == 8


def test_models_that_cannot_be_seen_for_now_are_asked_for_again(open_model):
    with serving(VllmServer()) as server:
        server.faults.append((503, {}, server.error('loading')))
        model = open_model(url_of(server, f'?model={server.models[0]}'))
        with pytest.raises(ServerError, match='loading'):
            model.encode(image=encoded('PNG'))
        assert len(model.encode(image=encoded('PNG'))) == 1


def test_the_prompt_of_a_caption_may_be_another(open_model):
    with serving(OpenAIServer()) as server:
        (answer,) = open_model(url_of(server)).caption(image=encoded('PNG'), prompt='What colours?')
    assert answer.tags['response'].endswith('<- What colours?')


def test_questions_are_asked_plainly(open_model):
    pixels = np.zeros((4, 6, 3), np.uint8)
    with serving(OpenAIServer()) as server:
        model = open_model(url_of(server))
        answers = model.vqa(image=[pixels, pixels], question=['Question: a cat? Answer:', 'a dog?'])
    assert [one.tags['response'] for one in answers] == [
        f'an image of 6 x 4 pixels <- {q}' for q in ('a cat?', 'a dog?')
    ]


def test_pixels_travel_as_png(open_model):
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    with serving(OpenAIServer()) as server:
        open_model(url_of(server)).caption(image=pixels)
        uri = server.asked[-1].body['messages'][0]['content'][0]['image_url']['url']
    assert uri.startswith('data:image/png;base64,')
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(from_data_uri(uri)))), pixels)


def test_one_image_that_fails_costs_no_other(open_model):
    with serving(OpenAIServer()) as server:
        model = open_model(url_of(server, f'?model={server.models[0]}'))
        server.faults.extend([None, None, (400, {}, server.error('no such image'))])  # the first is /models
        answers = model.caption(image=[encoded('PNG', seed) for seed in range(4)], on_item_error='return', prefetch=1)
    assert ['no such image' in one.tags.get('error', '') for one in answers] == [False, True, False, False]


@pytest.mark.parametrize('said', [{}, *({'content': content} for content in (None, ['part'], {}, '', ' \n'))])
@pytest.mark.parametrize(
    ('ended', 'words'),
    [
        ({}, r'no text in choices\[0\].message.content: the model declined'),
        ({'finish_reason': 'content_filter'}, r"content \(finish_reason 'content_filter'\): the model declined"),
        ({'finish_reason': 'length'}, r"no text \(finish_reason 'length'\): .* give a larger max_tokens"),
    ],
)
def test_an_answer_without_text(open_model, said, ended, words):
    message = {**said, 'reasoning_content': 'First I look at'}
    with serving(OpenAIServer()) as server:
        server.faults.extend([None, (200, {}, {'choices': [{'message': message, **ended}]})])
        with pytest.raises(ProtocolError, match=words):
            open_model(url_of(server, f'?model={server.models[0]}')).caption(image=encoded('PNG'))


def test_parameters_that_are_of_no_use(open_model):
    with serving(OpenAIServer()) as server:
        model = open_model(url_of(server))
        with pytest.raises(InputError, match='prompt is a int'):
            model.caption(image=encoded('PNG'), prompt=5)
        with pytest.raises(InputError, match='stream cannot be a parameter'):
            model.caption(image=encoded('PNG'), stream=True)


def test_a_plugin_task_is_none_of_its_tasks(open_model):
    from inference_client.testing._transport_kit import task_at

    with serving(OpenAIServer()) as server:
        with pytest.raises(UnsupportedTaskError, match='cannot upscale: it offers caption, encode, rank, vqa'):
            open_model(url_of(server)).run(task_at('/upscale'), docs=[Document(text='a')])
        assert server.asked == []
