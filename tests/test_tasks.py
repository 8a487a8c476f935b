"""Tasks: arguments to documents, wrong arguments to one clear error, answers to results."""

from __future__ import annotations

import math

import numpy as np
import pytest
import strategies
from docarray import Document, DocumentArray
from docarray.score import NamedScore
from hypothesis import given
from hypothesis import strategies as st
from strategies import encoded, noise, snapshot

from inference_client import Image, Text
from inference_client.errors import InputError, UnsupportedTaskError
from inference_client.tasks.base import Task
from inference_client.tasks.caption import CaptionTask
from inference_client.tasks.encode import EncodeTask
from inference_client.tasks.rank import RankTask
from inference_client.tasks.vqa import VqaTask, prompt

PNG, OTHER_PNG = encoded(noise()), encoded(noise(5, 5))
TASKS = {task.name: task for task in (EncodeTask, RankTask, CaptionTask, VqaTask)}
QUESTION = 'Question: What is this? Answer:'


def good_arguments():
    """For each task, arguments that it takes for one document."""
    return {
        'encode': [{'text': 'hello'}, {'image': PNG}, {'docs': Document(text='hello')}],
        'rank': [
            {'reference': PNG, 'candidates': ['a cat', 'a dog']},
            {'docs': Document(blob=PNG, matches=[Document(text='a cat'), Document(text='a dog')])},
        ],
        'caption': [{'image': PNG}, {'docs': Document(blob=PNG)}],
        'vqa': [
            {'image': PNG, 'question': 'What is this?'},
            {'docs': Document(blob=PNG, tags={'prompt': QUESTION})},
        ],
    }


def prepared(name, **arguments):
    """The documents that a task makes of arguments, all of them."""
    return list(TASKS[name]().prepare(**arguments).documents)


def counted(items, pulled):
    """The items, noting in a list which were pulled."""
    for item in items:
        pulled.append(item)
        yield item


# ------------------------------------------------------------- good arguments


@pytest.mark.parametrize(
    ('name', 'arguments'), [(name, one) for name, many in good_arguments().items() for one in many]
)
def test_other_keywords_become_parameters(name, arguments):
    call = TASKS[name]().prepare(**arguments, temperature=0.5, stop=['.'])
    assert call.parameters == {'temperature': 0.5, 'stop': ['.']}
    assert len(list(call.documents)) == 1
    assert not TASKS[name]().prepare(**arguments).parameters


@pytest.mark.parametrize('many', [list, tuple, iter, DocumentArray])
@pytest.mark.parametrize('name', TASKS)
def test_documents_are_taken_in_order_and_left_as_they_are(name, many):
    docs = [
        Document(blob=blob, tags={'prompt': QUESTION, 'n': 1}, matches=[Document(text='a cat'), Document(blob=PNG)])
        for blob in (PNG, OTHER_PNG, PNG)
    ]
    before = [snapshot(document) for document in docs]
    made = prepared(name, docs=many(docs))
    assert [document.blob for document in made] == [PNG, OTHER_PNG, PNG]
    assert [document.id for document in made] == [document.id for document in docs]
    for document in made:
        document.tags['response'] = document.matches[0].tags['seen'] = 'mine'
    assert [snapshot(document) for document in docs] == before


@pytest.mark.parametrize('many', [list, tuple, iter])
@pytest.mark.parametrize(('name', 'more'), [('encode', {}), ('caption', {}), ('vqa', {'question': 'What?'})])
def test_images_are_taken_one_by_one_or_many(name, more, many):
    assert [made.blob for made in prepared(name, image=many([PNG, OTHER_PNG]), **more)] == [PNG, OTHER_PNG]
    assert [made.blob for made in prepared(name, image=PNG, **more)] == [PNG]
    array = prepared(name, image=[noise(5, 5), Document(blob=PNG), Image(PNG)], **more)
    assert [made.tensor is None for made in array] == [False, True, True]


@pytest.mark.parametrize('many', [list, tuple, iter])
def test_texts_are_taken_one_by_one_or_many(many):
    assert [made.text for made in prepared('encode', text=many(['a', 'b']))] == ['a', 'b']
    assert [made.text for made in prepared('encode', text='ab')] == ['ab']
    assert [made.text for made in prepared('encode', text='cat.jpg')] == ['cat.jpg']


@pytest.mark.parametrize(
    ('name', 'argument', 'item', 'more'),
    [
        ('encode', 'text', 'hello', {}),
        ('encode', 'image', PNG, {}),
        ('encode', 'docs', Document(text='hello'), {}),
        ('rank', 'docs', Document(text='hello', matches=[Document(text='a cat')]), {}),
        ('caption', 'image', PNG, {}),
        ('caption', 'docs', Document(blob=PNG), {}),
        ('vqa', 'image', PNG, {'question': 'What is this?'}),
        ('vqa', 'docs', Document(blob=PNG, tags={'prompt': QUESTION}), {}),
    ],
)
def test_a_generator_is_pulled_only_as_far_as_documents_are_taken(name, argument, item, more):
    pulled = []
    made = iter(TASKS[name]().prepare(**{argument: counted([item] * 9, pulled)}, **more).documents)
    assert len(pulled) == 0
    for taken in (1, 2, 3):
        next(made)
        assert len(pulled) == taken


def test_a_bad_item_is_found_when_it_is_reached_not_before():
    made = iter(EncodeTask().prepare(text=['good', 5]).documents)
    assert next(made).text == 'good'
    with pytest.raises(InputError, match='got a int as text'):
        next(made)


def test_an_empty_list_gives_no_documents():
    for name, more in (('encode', {}), ('caption', {}), ('vqa', {'question': 'What?'})):
        assert prepared(name, image=[], **more) == []
        assert prepared(name, docs=DocumentArray()) == []


@pytest.mark.parametrize('many', [list, tuple, iter])
def test_rank_takes_texts_and_images_mixed(many, tmp_path):
    path = tmp_path / 'cat.png'
    path.write_bytes(PNG)
    candidates = [
        'a cat',
        str(path),
        path,
        PNG,
        noise(),
        Text('cat.png'),
        Image(str(path)),
        Document(text='b'),
    ]
    [made] = prepared('rank', reference=str(path), candidates=many(candidates))
    assert made.blob == PNG
    kinds = ['text' if match.text else 'blob' if match.blob else 'tensor' for match in made.matches]
    assert kinds == ['text', 'blob', 'blob', 'blob', 'tensor', 'text', 'blob', 'text']
    assert made.matches[5].text == 'cat.png'


def test_rank_takes_one_candidate_without_a_list():
    [made] = prepared('rank', reference='a pet', candidates='a cat')
    assert (made.text, [match.text for match in made.matches]) == ('a pet', ['a cat'])


def test_rank_loads_the_images_of_matches(tmp_path):
    path = tmp_path / 'cat.png'
    path.write_bytes(PNG)
    [made] = prepared('rank', docs=Document(text='a pet', matches=[Document(uri=str(path)), Document(tensor=noise())]))
    assert made.matches[0].blob == PNG
    assert made.matches[1].tensor.shape == (40, 30, 3)


def test_vqa_asks_one_question_of_all_images_or_one_of_each():
    made = prepared('vqa', image=iter([PNG, OTHER_PNG]), question='What is this?')
    assert [document.tags['prompt'] for document in made] == [QUESTION, QUESTION]
    made = prepared('vqa', image=(PNG, OTHER_PNG), question=['Is it a cat?', QUESTION])
    assert [document.blob for document in made] == [PNG, OTHER_PNG]
    assert [document.tags['prompt'] for document in made] == ['Question: Is it a cat? Answer:', QUESTION]


def test_vqa_completes_the_prompts_of_documents_and_leaves_the_callers_as_they_are():
    document = Document(blob=PNG, tags={'prompt': 'What is this?'})
    assert prepared('vqa', docs=document)[0].tags['prompt'] == QUESTION
    assert prepared('vqa', image=document, question='Is it a cat?')[0].tags['prompt'] != QUESTION
    assert document.tags == {'prompt': 'What is this?'}


@pytest.mark.parametrize('name', ['caption', 'vqa'])
def test_an_earlier_answer_is_not_sent_so_that_an_echo_is_none(name):
    document = Document(blob=PNG, tags={'prompt': QUESTION, 'response': 'a cat', 'n': 1})
    [made] = prepared(name, docs=document)
    assert made.tags == {'prompt': QUESTION, 'n': 1}
    assert document.tags['response'] == 'a cat'


# ------------------------------------------------------------ wrong arguments


@pytest.mark.parametrize(
    ('name', 'arguments', 'words'),
    [
        ('encode', {}, 'exactly one of text=, image=, docs=: got none of them'),
        ('encode', {'text': 'a', 'image': PNG}, 'exactly one of text=, image=, docs=: got text= and image='),
        ('encode', {'text': 'a', 'docs': []}, 'got text= and docs='),
        ('encode', {'image': PNG, 'docs': []}, 'got image= and docs='),
        ('encode', {'text': 'a', 'image': PNG, 'docs': []}, 'got text= and image= and docs='),
        ('encode', {'txt': 'a'}, 'got none of them'),
        ('encode', {'text': ''}, 'the text is empty'),
        ('encode', {'text': ['a', '']}, 'the text is empty'),
        ('encode', {'text': b'hello'}, 'got a bytes as text: expected a str'),
        ('encode', {'text': {'a': 1}}, 'got a dict: expected a str, or a list of such'),
        ('encode', {'text': Document(blob=PNG)}, 'has no text'),
        ('encode', {'image': {'a': 1}}, 'got a dict: expected a path'),
        ('encode', {'image': [[PNG]]}, 'got a list as image'),
        ('encode', {'docs': 'hello'}, 'docs is a str: expected a DocumentArray'),
        ('encode', {'docs': ['hello']}, 'docs holds a str'),
        ('rank', {}, 'exactly one of reference=, docs=: got none of them'),
        ('rank', {'candidates': ['a']}, 'exactly one of reference=, docs=: got none of them'),
        ('rank', {'reference': 'a', 'docs': []}, 'got reference= and docs='),
        ('rank', {'reference': 'a'}, 'candidates= is missing'),
        ('rank', {'reference': 'a', 'candidates': []}, 'candidates= is empty'),
        ('rank', {'reference': 'a', 'candidates': iter(())}, 'candidates= is empty'),
        ('rank', {'reference': 'a', 'candidates': ['']}, 'the text is empty'),
        ('rank', {'reference': 'a', 'candidates': {'b': 1}}, 'got a dict as image'),
        ('rank', {'reference': 'a', 'candidates': ['b', None]}, 'got a NoneType as image'),
        ('rank', {'reference': '', 'candidates': ['a']}, 'the text is empty'),
        ('rank', {'reference': ['a'], 'candidates': ['a']}, 'reference= is a list: give one text or image'),
        ('rank', {'reference': 'missing.jpg', 'candidates': ['a']}, 'no such image file'),
        ('rank', {'docs': [], 'candidates': ['a']}, 'candidates= goes with reference=: documents in docs='),
        ('rank', {'docs': Document(text='a')}, 'has nothing to rank: put the candidates in .matches'),
        ('rank', {'docs': Document(text='a', matches=[Document()])}, 'is empty: expected text, blob'),
        ('caption', {}, 'exactly one of image=, docs=: got none of them'),
        ('caption', {'image': PNG, 'docs': []}, 'got image= and docs='),
        ('caption', {'image': ''}, 'the image name is empty'),
        ('caption', {'image': 'hello'}, 'no such image file'),
        ('caption', {'image': Document(text='hello')}, 'has text: expected an image'),
        ('vqa', {}, 'exactly one of image=, docs=: got none of them'),
        ('vqa', {'question': 'What?'}, 'exactly one of image=, docs=: got none of them'),
        ('vqa', {'image': PNG, 'docs': [], 'question': 'What?'}, 'got image= and docs='),
        ('vqa', {'image': PNG}, 'question= is missing'),
        ('vqa', {'image': PNG, 'question': ''}, 'the text is empty|the question is empty'),
        ('vqa', {'image': PNG, 'question': 5}, 'the question is a int: expected a str'),
        ('vqa', {'image': PNG, 'question': iter(['What?'])}, 'expected a str'),
        ('vqa', {'image': PNG, 'question': ['What?']}, '1 questions: expected a list of as many images'),
        ('vqa', {'image': [PNG, PNG], 'question': ['What?']}, '1 questions: expected a list of as many'),
        ('vqa', {'image': [PNG], 'question': ['What?', 'Who?']}, '2 questions: expected a list of as many'),
        ('vqa', {'image': [PNG], 'question': []}, '0 questions: expected a list of as many'),
        (
            'vqa',
            {'image': [PNG], 'question': ['Question: What?']},
            "start with 'Question:' and end with 'Answer:'",
        ),
        ('vqa', {'docs': [], 'question': 'What?'}, 'question= goes with image=: documents in docs='),
        ('vqa', {'docs': Document(blob=PNG)}, r"has no question: put it in tags\['prompt'\]"),
        ('vqa', {'docs': Document(blob=PNG, tags={'prompt': 5})}, 'the question is a int: expected a str'),
        ('vqa', {'docs': Document(blob=PNG, tags={'prompt': ' '})}, 'the question is empty'),
    ],
)
def test_wrong_arguments_are_one_clear_error(name, arguments, words):
    with pytest.raises(InputError, match=words):
        prepared(name, **arguments)


@given(junk=strategies.junk().filter(lambda junk: not isinstance(junk, str)))
def test_junk_is_an_input_error_wherever_it_is_given(junk):
    wrong = [
        ('encode', {'text': [junk]}),
        ('encode', {'image': [junk]}),
        ('encode', {'docs': [junk]}),
        ('rank', {'reference': junk, 'candidates': ['a']}),
        ('rank', {'reference': 'a', 'candidates': [junk]}),
        ('rank', {'docs': [junk]}),
        ('caption', {'image': [junk]}),
        ('vqa', {'image': [junk], 'question': 'What?'}),
        ('vqa', {'image': [PNG], 'question': [junk]}),
        ('vqa', {'docs': [junk]}),
    ]
    for name, arguments in wrong:
        with pytest.raises(InputError):
            prepared(name, **arguments)


# -------------------------------------------------------------------- prompt


@st.composite
def questions(draw):
    """Questions with and without the words around them, and with these in odd places."""
    parts = st.one_of(strategies.texts(0), st.sampled_from(['Question:', 'Answer:', ' ', '\n', 'What is this?']))
    return ''.join(draw(st.lists(parts, max_size=5)))


@given(question=questions())
def test_a_prompt_is_whole_and_stays_as_it_is_or_is_an_input_error(question):
    try:
        whole = prompt(question)
    except InputError:
        return
    assert whole.startswith('Question:')
    assert whole.endswith('Answer:')
    assert question.strip() in whole
    assert prompt(whole) == whole


@given(question=strategies.texts().filter(lambda text: text.strip() and ':' not in text))
def test_a_plain_question_is_wrapped_and_a_whole_one_is_not(question):
    assert prompt(question) == f'Question: {question.strip()} Answer:'
    assert prompt(f'  Question:{question}Answer:\n') == f'Question:{question}Answer:'


@pytest.mark.parametrize('question', ['', ' \n', 'Question:', 'Answer:', 'Question:Answer:', ' Question: \t Answer: '])
def test_an_empty_question_is_refused(question):
    with pytest.raises(InputError, match='is empty'):
        prompt(question)


@pytest.mark.parametrize('question', ['Question: What?', 'What? Answer:', 'Question: Answer: What?'])
def test_half_a_prompt_is_refused(question):
    with pytest.raises(InputError, match="must start with 'Question:' and end with 'Answer:', or have neither"):
        prompt(question)


@given(question=strategies.surrogate_texts())
def test_a_question_that_cannot_be_sent_is_refused(question):
    with pytest.raises(InputError, match='lone surrogate'):
        prompt(question)


# -------------------------------------------------------------------- accept


@pytest.mark.parametrize('name', TASKS)
def test_an_echo_is_no_answer(name):
    for arguments in good_arguments()[name]:
        [echo] = prepared(name, **arguments)
        with pytest.raises(UnsupportedTaskError, match='the server has no model for this task'):
            TASKS[name]().accept(echo)


def test_an_embedding_is_an_answer():
    document = Document(text='hello', embedding=np.ones(3))
    assert EncodeTask().accept(document).embedding.tolist() == [1, 1, 1]


@pytest.mark.parametrize('task', [CaptionTask(), VqaTask()])
def test_only_text_is_a_response(task):
    assert task.accept(Document(tags={'response': ''})).tags['response'] == ''
    for tags in ({}, {'response': None}, {'response': 5.0}, {'response': ['a cat']}, {'answer': 'a cat'}):
        with pytest.raises(UnsupportedTaskError):
            task.accept(Document(tags=tags))


def ranked(scores):
    """A document as a server sends it back: matches named by position, with (score, cosine or None) each."""
    matches = []
    for position, (score, cosine) in enumerate(scores):
        match = Document(text=str(position))
        match.scores['clip_score'] = NamedScore(value=score)
        if cosine is not None:
            match.scores['clip_score_cosine'] = NamedScore(value=cosine)
        matches.append(match)
    return [int(match.text) for match in RankTask().accept(Document(matches=matches)).matches]


@given(scores=st.lists(st.tuples(st.floats(), st.none() | st.floats(-1, 1)), min_size=1, max_size=12))
def test_matches_come_best_first_and_unordered_scores_last(scores):
    order = ranked(scores)
    assert sorted(order) == list(range(len(scores)))
    values = [scores[position][0] for position in order]
    numbers = [value for value in values if not math.isnan(value) and value != -math.inf]
    assert values[: len(numbers)] == sorted(numbers, reverse=True)


@given(scores=st.lists(st.tuples(st.sampled_from([0.0, 0.5]), st.sampled_from([-0.25, 0.25])), min_size=1, max_size=12))
def test_equal_scores_go_by_cosine_and_then_keep_their_order(scores):
    assert ranked(scores) == sorted(range(len(scores)), key=lambda position: [-part for part in scores[position]])


def test_scores_that_underflow_go_by_cosine():
    assert ranked([(0.0, 0.1), (1.0, 0.9), (0.0, 0.3)]) == [1, 2, 0]


def test_matches_without_all_scores_are_no_answer():
    scored = Document(text='a')
    scored.scores['clip_score'] = NamedScore(value=0.5)
    for matches in ([], [Document(text='b')], [scored, Document(text='b')]):
        with pytest.raises(UnsupportedTaskError, match='clip_score'):
            RankTask().accept(Document(text='a', matches=matches))


# ---------------------------------------------------------------------- tasks


@pytest.mark.parametrize('name', TASKS)
def test_a_task_is_sent_to_the_endpoint_of_its_name(name):
    assert TASKS[name]().endpoint == f'/{name}'


def test_a_new_task_needs_only_prepare():
    class Upscale(Task):
        name = 'upscale'

        def prepare(self, **arguments):
            raise InputError('nothing to do')

    document = Document(text='a')
    assert Upscale().accept(document) is document
    assert (Upscale().endpoint, Upscale().requires, Upscale().fallback) == ('/upscale', frozenset(), None)
    with pytest.raises(TypeError, match='prepare'):
        Task()
