"""Documents are counted before they are made, whatever bytes they come as."""

from __future__ import annotations

import orjson
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from inference_client._wire.jina_pb2 import DataRequestProto
from inference_client.server.counting import (
    FIELDS,
    HOLDER,
    MOST_VALUES,
    check_values,
    count_documents,
    count_objects,
    header_of,
)
from inference_client.server.refusals import TooLargeError

TREES = st.recursive(
    st.fixed_dictionaries({'text': st.text(max_size=3)}),
    lambda inner: st.fixed_dictionaries(
        {'text': st.text(max_size=200)},
        optional={name: st.lists(inner, max_size=4) for name in ('chunks', 'matches')},
    ),
    max_leaves=20,
)
MANY = 10_000


def size_of(tree):
    return 1 + sum(size_of(inner) for name in ('chunks', 'matches') for inner in tree.get(name, ()))


def write(document, tree):
    document.text, document.weight = tree['text'], 0.5
    document.tags.update({'matches': [tree['text']]})
    document.location.extend([1.0, 2.0])
    for name in ('chunks', 'matches'):
        for inner in tree.get(name, ()):
            write(getattr(document, name).add(), inner)


def message(trees):
    request = DataRequestProto(header={'request_id': 'an id', 'exec_endpoint': '/encode'})
    request.parameters.update({'a': [1, {'b': None}]})
    for tree in trees:
        write(request.data.docs.docs.add(), tree)
    return request.SerializeToString()


@given(st.lists(TREES, max_size=5), st.integers(0, 40))
def test_documents_are_counted_with_those_in_them(trees, most):
    data, count = message(trees), sum(map(size_of, trees))
    assert count_documents(data, MANY) == count_objects(trees, MANY) == count
    assert count_documents(data, most) == count_objects(trees, most) == min(count, most + 1)
    assert header_of(data).request_id == 'an id'


@given(st.binary(max_size=100) | st.tuples(st.just(message([{'text': 'a'}])), st.binary(max_size=9)).map(b''.join))
def test_whatever_bytes_come(data):
    assert 0 <= count_documents(data, MANY) <= MANY + 1
    assert isinstance(header_of(data).request_id, str)
    try:
        read = DataRequestProto.FromString(data)
    except DecodeError:  # which the desk tells
        return
    assert count_documents(data, MANY) >= len(read.data.docs.docs)


def test_what_is_cut_short_counts_as_far_as_it_goes():
    data = message([{'text': 'a' * 50}] * 9)
    for end in range(len(data)):
        assert count_documents(data[:end], MANY) <= 9
        assert header_of(data[:end]).request_id in ('', 'an id')


def test_fields_without_end_are_too_much():
    """Bytes in which a document says the same again and again would take as long to walk through."""
    document = b'\x22\x00' * 100_000
    inner = b'\x0a' + varint(len(document)) + document
    assert count_documents(b'\x22' + varint(len(inner) + 4) + b'\x0a' + varint(len(inner)) + inner, 9) == 10


def tags_of(value):
    request = DataRequestProto()
    request.data.docs.docs.add().tags.update({'a': value})
    return request


def parameters_of(value):
    request = DataRequestProto()
    request.parameters.update({'a': value})
    return request


def scores_of(keys):
    request = DataRequestProto()
    document = request.data.docs.docs.add()
    for key in keys:
        document.scores[key].value = 1
    return request


MANY_VALUES = {
    'parameters': parameters_of([0] * 1000),
    'parameters, nested': parameters_of([[[]] * 3] * 250),
    'parameters, by name': parameters_of({str(number): None for number in range(500)}),
    'tags': tags_of([''] * 1000),
    'a header': DataRequestProto(header={'status': {'exception': {'args': [''] * 1000}}}),
    'a place': DataRequestProto(data={'docs': {'docs': [{'location': [0.5] * 1000}]}}),
    'scores': scores_of(map(str, range(500))),
    'a shape': DataRequestProto(data={'docs': {'docs': [{'tensor': {'dense': {'shape': [1] * 1000}}}]}}),
}


@pytest.mark.parametrize('request_', MANY_VALUES.values(), ids=MANY_VALUES)
def test_values_without_end_are_too_many_documents(request_):
    """Each costs a hundred times the two bytes that it comes in."""
    assert count_documents(request_.SerializeToString(), 9) == 10
    assert count_documents(request_.SerializeToString(), MANY) < 2


VALUES = st.recursive(
    st.none() | st.text(max_size=3), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


def values_in(value):
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return len(inner) + sum(map(values_in, inner))


@given(VALUES, st.integers(0, 3))
def test_values_in_json_count_wherever_they_are(value, most):
    value = [value] * 60
    too_many = values_in(value) > FIELDS * (most + 1)
    assert count_objects([], most, value) == (most + 1 if too_many else 0)
    assert count_objects([{'tags': value}], most) == (most + 1 if too_many else min(1, most + 1))


def test_many_values_in_json():
    assert count_objects([], 9, {'a': [0] * 1000}) == count_objects([{'tags': {'a': [0] * 1000}}], 9) == 10
    assert count_objects([{'embedding': [0] * 1000}], 9) == 1


def test_json_of_too_many_values_is_not_read():
    check_values(b'[' + b'1,' * (MOST_VALUES - HOLDER) + b'1]')
    for one in (b'1,', b'[],', b'{},'):
        with pytest.raises(TooLargeError, match='values'):
            check_values(b'[' + one * (MOST_VALUES - HOLDER + 1) + b'1]')


def varint(value):
    """In three bytes."""
    return bytes([value & 127 | 128, value >> 7 & 127 | 128, value >> 14])


@given(
    st.recursive(
        st.none() | st.text(max_size=3), lambda inner: st.lists(inner) | st.dictionaries(st.just('matches'), inner)
    )
)
def test_whatever_json_comes(value):
    assert count_objects([orjson.loads(orjson.dumps(value))], MANY) >= 1
