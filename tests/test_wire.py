"""The codec against docarray's own, against jina's messages, and against garbage."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
import strategies
from docarray import Document, DocumentArray
from docarray.proto import docarray_pb2
from hypothesis import given
from hypothesis import strategies as st

from inference_client._messages import Request
from inference_client._wire import json as json_wire
from inference_client._wire import protobuf as protobuf_wire
from inference_client._wire.documents import read_document, write_document
from inference_client._wire.jina_pb2 import DataRequestProto
from inference_client._wire.pixels import pack, unpack
from inference_client.errors import InferenceError, InputError, ProtocolError, ServerError, UnsupportedTaskError

ROOT = Path(__file__).resolve().parents[1]

words = strategies.texts(0)
names = st.text('abcdefgh_', min_size=1, max_size=8)
plain = strategies.plain_values()


def canonical(document):
    """docarray's own message of a document: equal documents give equal ones."""
    return document.to_protobuf()


def kept(array):
    """All that an array is."""
    return None if array is None else (array.dtype.str, array.shape, array.tobytes())


@given(strategies.documents())
def test_writing_equals_docarray(document):
    message = docarray_pb2.DocumentProto()
    write_document(message, document)
    assert message == canonical(document)


@given(strategies.documents())
def test_reading_equals_docarray(document):
    message = canonical(document)
    assert canonical(read_document(message)) == canonical(Document.from_protobuf(message))


@given(st.lists(strategies.documents(), max_size=4), st.dictionaries(names, plain, max_size=3))
def test_protobuf_round_trip(docs, parameters):
    request = Request('/encode', DocumentArray(docs), parameters)
    data = protobuf_wire.encode_request(request)
    response = protobuf_wire.read_response(protobuf_wire.decode_message(data))
    assert response.id == request.id
    theirs = [Document.from_protobuf(canonical(d)) for d in docs]  # docarray's own trip loses empty scores
    assert [canonical(d) for d in response.documents] == [canonical(d) for d in theirs]


@given(strategies.arrays())
def test_arrays_survive_both_ways(array):
    document = Document(embedding=array)
    message = docarray_pb2.DocumentProto()
    write_document(message, document)
    assert kept(read_document(message).embedding) == kept(array)
    assert kept(read_document(canonical(document)).embedding) == kept(array)
    if array.size:  # docarray makes float64 of those without elements
        assert kept(Document.from_protobuf(message).embedding) == kept(array)


@given(st.recursive(st.floats(width=32), lambda inner: st.lists(inner, min_size=1, max_size=1), max_leaves=3))
def test_lists_survive_as_lists(numbers):
    if not isinstance(numbers, list):
        numbers = [numbers]
    message = docarray_pb2.DocumentProto()
    write_document(message, Document(embedding=numbers))
    assert str(read_document(message).embedding) == str(numbers)  # NaN is not NaN


@pytest.mark.parametrize('kind', ['csr', 'csc', 'coo', 'bsr'])
def test_sparse_arrays_survive_as_docarray_has_them(kind):
    sparse = pytest.importorskip('scipy.sparse')
    matrix = sparse.coo_matrix(([1.5, 2.5], ([0, 3], [2, 1])), shape=(4, 5)).asformat(kind)
    message = docarray_pb2.DocumentProto()
    write_document(message, Document(embedding=matrix))
    read, theirs = read_document(message).embedding, Document.from_protobuf(message).embedding
    assert type(read) is type(theirs) is type(matrix)
    assert (read != matrix).nnz == (read != theirs).nnz == 0
    assert read.dtype == theirs.dtype


def sparse_message(shape=(2, 2), indices=(0, 1), values=(1.0,), dtype='<i8', name='scipy'):
    """An answer with a sparse embedding that holds `values` at the pairs of `indices`."""
    message = DataRequestProto()
    embedding = message.data.docs.docs.add().embedding
    embedding.cls_name = name
    embedding.sparse.shape.extend(shape)
    indices = np.array(indices, dtype).reshape(-1, 2)
    for field, array in ((embedding.sparse.indices, indices), (embedding.sparse.values, np.array(values, '<f8'))):
        field.buffer, field.dtype = array.tobytes(), array.dtype.str
        field.shape.extend(array.shape)
    return message


@pytest.mark.parametrize(
    'odd',
    [
        {'shape': (2**31, 2**31)},  # as csr it would take 16 GB, and nothing is in it
        {'shape': ()},
        {'shape': (2, 2, 2)},
        {'values': ()},
        {'values': (1.0, 2.0)},
        {'dtype': '<f8'},
        {'name': 'torch'},
        {'name': 'tensorflow'},
        {'indices': (2, 0)},
    ],
)
def test_odd_sparse_arrays_are_a_protocol_error(odd):
    if 'indices' in odd:
        pytest.importorskip('scipy')
    with pytest.raises(ProtocolError):
        protobuf_wire.read_response(sparse_message(**odd))


def test_arrays_are_the_callers_own():
    data = protobuf_wire.encode_request(Request('/x', DocumentArray([Document(embedding=np.ones(3))])))
    embedding = protobuf_wire.read_response(protobuf_wire.decode_message(data)).documents[0].embedding
    embedding *= 2  # np.frombuffer alone would give a read-only one
    assert embedding.tolist() == [2, 2, 2]


@given(strategies.documents(dtypes=strategies.REAL))
def test_json_keeps_what_a_model_needs(document):
    body = orjson.loads(json_wire.encode_request(Request('/encode', DocumentArray([document]), {'x': 1})))
    assert body['exec_endpoint'] == '/encode'
    assert body['parameters'] == {'x': 1}
    (sent,) = body['data']
    assert sent['id'] == document.id
    assert sent.get('text', '') == document.text
    assert base64.b64decode(sent.get('blob', '')) == document.blob
    if document.tensor is not None:
        assert np.array_equal(np.asarray(sent['tensor'], document.tensor.dtype), document.tensor)
    assert [match['id'] for match in sent.get('matches', [])] == [match.id for match in document.matches]


def json_answer(*docs, status=None):
    return orjson.dumps({'header': {'requestId': 'r', 'status': status}, 'data': list(docs)})


def test_json_answer_of_a_gateway():
    match = {'id': 'm', 'text': 'a', 'scores': {'clip_score': {'value': None}, 'c': {'value': 0.5, 'op_name': None}}}
    answer = json_answer(
        {'id': 'd', 'blob': 'aGk=', 'embedding': [0.5, 1], 'tags': {'response': 'x'}, 'uri': None, 'matches': [match]}
    )
    (document,) = json_wire.decode_response(answer, 'r').documents
    assert document.blob == b'hi'
    assert document.embedding.dtype == np.float32
    assert document.embedding.tolist() == [0.5, 1]
    assert document.tags == {'response': 'x'}
    assert document.matches[0].scores['clip_score'].value == 0
    assert document.matches[0].scores['c'].value == 0.5


def protobuf_failure(name, *arguments):
    message = DataRequestProto()
    message.header.status.code = 1
    message.header.status.description = 'described'
    message.header.status.exception.name = name
    message.header.status.exception.args.extend(arguments)
    return message


def json_failure(name, *arguments):
    return json_answer(
        status={'code': 1, 'description': 'described', 'exception': {'name': name, 'args': list(arguments)}}
    )


@pytest.mark.parametrize(
    ('name', 'arguments', 'kind', 'words'),
    [
        ('ValueError', ['too long'], ServerError, 'ValueError: too long'),
        ('InputError', ['not an image'], InputError, 'not an image'),
        ('UnsupportedTaskError', ['no such task'], UnsupportedTaskError, 'no such task'),
        ('KeyError', [], ServerError, 'KeyError: described'),
        ('', [], ServerError, 'described'),
    ],
)
def test_failures_reach_the_caller(name, arguments, kind, words):
    with pytest.raises(kind, match=words):
        protobuf_wire.read_response(protobuf_failure(name, *arguments))
    with pytest.raises(kind, match=words):
        json_wire.decode_response(json_failure(name, *arguments), 'r')


@given(st.binary(max_size=200))
def test_garbage_is_a_protocol_error(data):
    try:
        protobuf_wire.read_response(protobuf_wire.decode_message(data))
    except InferenceError as error:
        assert isinstance(error, (ProtocolError, ServerError))
    with pytest.raises(ProtocolError):
        json_wire.decode_response(data, 'r')


@given(strategies.messages(docarray_pb2.DocumentProto))
def test_any_message_is_a_protocol_error_or_read(document):
    message = DataRequestProto()
    message.data.docs.docs.add().CopyFrom(document)
    read_or_refused(protobuf_wire.encode_request(Request('/x', DocumentArray())) + message.SerializeToString())


@given(strategies.messages(DataRequestProto))
def test_any_answer_is_a_protocol_error_or_read(message):
    read_or_refused(message.SerializeToString())


@given(st.data(), strategies.documents())
def test_a_damaged_answer_is_a_protocol_error_or_read(data, document):
    request = Request('/x', DocumentArray([document]), {'x': 1})
    read_or_refused(data.draw(strategies.damaged(protobuf_wire.encode_request(request))))


def read_or_refused(data):
    try:
        response = protobuf_wire.read_response(protobuf_wire.decode_message(data))
    except InferenceError as error:
        assert isinstance(error, (ProtocolError, ServerError))
        str(error).encode()
    else:
        assert all(isinstance(one, Document) for one in response.documents)


@given(st.data(), strategies.documents(dtypes=strategies.REAL))
def test_damaged_json_is_a_protocol_error_or_read(data, document):
    whole = json_wire.encode_request(Request('/x', DocumentArray([document]), {'x': 1}))
    try:
        json_wire.decode_response(data.draw(strategies.damaged(whole)), 'r')
    except InferenceError as error:
        assert isinstance(error, (ProtocolError, ServerError))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | words,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(['id', 'text', 'blob', 'embedding', 'tags', 'scores', 'matches', 'x']), inner)
    ),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=3), json_values)
def test_odd_json_is_a_protocol_error_or_read(data, status):
    try:
        body = orjson.dumps({'data': data, 'header': {'status': status}})
        response = json_wire.decode_response(body, 'r')
    except InferenceError as error:
        assert isinstance(error, (ProtocolError, ServerError))
    else:
        assert len(response.documents) == len(data)


WRONG = [
    {'tags': [1]},
    {'tags': []},
    {'text': 5},
    {'text': False},
    {'id': 7},
    {'uri': ['x']},
    {'weight': '1'},
    {'weight': True},
    {'granularity': 1.5},
    {'location': 'here'},
    {'location': ['x']},
    {'blob': [1]},
    {'blob': 'é'},
    {'embedding': 'abc'},
    {'embedding': 5},
    {'embedding': {}},
    {'tensor': ['a']},
    {'scores': [1]},
    {'scores': {'clip_score': 0.5}},
    {'scores': {'clip_score': {'value': 'abc'}}},
    {'evaluations': {'x': {'op_name': 3}}},
    {'chunks': {'id': 'x'}},
    {'matches': ['x']},
]


@pytest.mark.parametrize('fields', WRONG)
def test_json_of_a_wrong_type_is_a_protocol_error(fields):
    for answered in (fields, {'id': 'd', 'matches': [fields]}):
        with pytest.raises(ProtocolError):
            json_wire.decode_response(json_answer(answered), 'r')


@pytest.mark.parametrize(
    'body',
    [
        {'data': [], 'header': []},
        {'data': [], 'header': {'status': 'bad'}},
        {'data': [], 'header': {'status': {'code': 1, 'description': 5}}},
        {'data': [], 'header': {'status': {'code': 1, 'exception': {'name': ['x']}}}},
        {'data': [], 'header': {'status': {'code': 1, 'exception': {'args': 5}}}},
        {'data': [None]},
        {'data': {}},
    ],
)
def test_a_json_answer_of_a_wrong_shape_is_a_protocol_error(body):
    with pytest.raises(ProtocolError):
        json_wire.decode_response(orjson.dumps(body), 'r')


def answer_fields():
    """Documents as JSON: most fields of their type, each now and then of any other."""

    def of(strategy):
        return strategy | json_values

    numbers = of(st.floats(-9, 9) | st.integers(-9, 9))
    score = of(st.fixed_dictionaries({}, optional={'value': numbers, 'op_name': of(words), 'ref_id': of(words)}))
    plain_fields = {
        **{name: of(words) for name in ('id', 'text', 'uri', 'mime_type', 'modality', 'parent_id')},
        **dict.fromkeys(('weight', 'offset', 'granularity', 'adjacency'), numbers),
        'tags': of(st.dictionaries(names, json_values, max_size=2)),
        'location': of(st.lists(numbers, max_size=2)),
        'scores': of(st.dictionaries(names, score, max_size=2)),
        'embedding': of(st.lists(numbers, max_size=2)),
    }
    one = st.fixed_dictionaries({}, optional=plain_fields)
    return st.fixed_dictionaries(
        {}, optional={**plain_fields, 'matches': of(st.lists(one, max_size=2)), 'chunks': of(st.lists(one, max_size=2))}
    )


def assert_types(document):
    for name in ('id', 'text', 'uri', 'mime_type', 'modality', 'parent_id'):
        assert isinstance(getattr(document, name) or '', str)
    for name in ('weight', 'offset'):
        assert type(getattr(document, name) or 0.0) is float
    for name in ('granularity', 'adjacency'):
        assert type(getattr(document, name) or 0) is int
    assert isinstance(document.tags, dict)
    assert all(type(number) is float for number in document.location or ())
    assert isinstance(document.blob, bytes)
    assert document.embedding is None or document.embedding.dtype == np.float32
    for scores in (document.scores, document.evaluations):
        for score in scores.values():
            assert type(score.value or 0.0) is float
            assert isinstance(score.op_name or '', str)
    for inner in (*document.matches, *document.chunks):
        assert_types(inner)


@given(st.lists(answer_fields(), min_size=1, max_size=2))
def test_what_is_read_of_any_json_has_its_types(data):
    try:
        response = json_wire.decode_response(orjson.dumps({'data': data}), 'r')
    except ProtocolError:
        return
    for document in response.documents:
        assert_types(document)


RED, BLUE = (np.full((3, 4, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))


def answered(sent, ids):
    """What a server sends back that echoes the documents, perhaps under ids of its own."""
    echo = DocumentArray([Document(document, copy=True) for document in sent])
    for document, name in zip(echo, ids):
        document.id = name
    return echo


@pytest.mark.parametrize(
    ('sent_ids', 'ids'), [('ab', 'ab'), ('ab', 'xy'), ('aa', 'aa'), ('ab', 'xx')], ids=['same', 'new', 'twins', 'one']
)
def test_a_png_that_comes_back_is_dropped_whatever_the_ids(sent_ids, ids):
    sent = pack([Document(id=name, tensor=pixels) for name, pixels in zip(sent_ids, (RED, BLUE))])
    assert all(document.blob for document in sent)
    answer = answered(sent, ids)
    unpack(answer, sent)
    assert [document.blob for document in answer] == [b'', b'']


def test_pngs_in_another_order_are_known_by_their_ids():
    inner = [Document(id=name, tensor=pixels) for name, pixels in (('m', RED), ('n', BLUE))]
    sent = pack([Document(id='a', tensor=RED, matches=inner), Document(id='b', tensor=BLUE, matches=inner[:1])])
    answer = DocumentArray([Document(document, copy=True) for document in reversed(sent)])
    answer[1].matches = DocumentArray([Document(match, copy=True) for match in reversed(sent[0].matches)])
    unpack(answer, sent)
    everyone = [*answer, *(match for document in answer for match in document.matches)]
    assert [document.blob for document in everyone] == [b''] * 5


def test_an_image_of_the_servers_own_is_kept():
    sent = pack([Document(id='a', tensor=RED)])
    answer = DocumentArray([Document(id='a', blob=b'a drawing')])
    unpack(answer, sent)
    assert answer[0].blob == b'a drawing'


@given(st.binary(max_size=40), st.lists(st.integers(0, 2**31), max_size=3), st.text('<fiuO0123456789', max_size=4))
def test_odd_arrays_are_a_protocol_error_or_read(buffer, shape, dtype):
    message = DataRequestProto()
    dense = message.data.docs.docs.add().embedding.dense
    dense.buffer, dense.dtype = buffer, dtype
    dense.shape.extend(shape)
    try:
        protobuf_wire.read_response(message)
    except InferenceError as error:
        assert isinstance(error, ProtocolError)


def test_pickles_are_never_read():
    message = DataRequestProto()
    message.data.docs_bytes = b"cos\nsystem\n(S'exit 1'\ntR."
    with pytest.raises(ProtocolError, match='pickled'):
        protobuf_wire.read_response(message)


def test_complex_numbers_are_no_json():
    with pytest.raises(InputError, match='complex'):
        json_wire.encode_request(Request('/x', DocumentArray([Document(tensor=np.array([1j]))])))


@pytest.mark.parametrize('wire', [protobuf_wire, json_wire])
def test_what_is_nested_without_end_is_an_input_error(wire):
    document = Document(text='a')
    document.chunks.append(document)
    with pytest.raises(InputError, match='cannot be sent'):
        wire.encode_request(Request('/x', DocumentArray([document])))


@pytest.mark.parametrize('wire', [protobuf_wire, json_wire])
def test_what_cannot_be_sent_is_an_input_error(wire):
    with pytest.raises(InputError, match='cannot be sent'):
        wire.encode_request(Request('/x', DocumentArray([Document(text='a')]), {'x': 10**400}))
    with pytest.raises(InputError, match='cannot be sent'):
        wire.encode_request(Request('/x', DocumentArray([Document(text='a', tags={'x': object()})])))


def test_messages_are_those_of_jina():
    jina_pb2 = pytest.importorskip('jina.proto.jina_pb2')
    request = Request('/encode', DocumentArray([Document(id='a', text='hi')]), {'x': 1.5})
    theirs = jina_pb2.DataRequestProto.FromString(protobuf_wire.encode_request(request))
    assert theirs.header.request_id == request.id
    assert theirs.header.exec_endpoint == '/encode'
    assert theirs.parameters['x'] == 1.5
    assert theirs.data.docs.docs[0].text == 'hi'
    theirs.header.status.code = 1
    theirs.header.status.exception.name = 'E'
    theirs.header.status.exception.args.append('why')
    with pytest.raises(ServerError, match='E: why'):
        protobuf_wire.read_response(protobuf_wire.decode_message(theirs.SerializeToString()))


def test_generated_code_is_up_to_date(tmp_path):
    pytest.importorskip('grpc_tools')
    subprocess.run([sys.executable, str(ROOT / 'scripts' / 'build_wire.py'), str(tmp_path)], check=True)
    for name in ('jina_pb2.py', 'jina_pb2.pyi'):
        committed = ROOT / 'inference_client' / '_wire' / name
        assert (tmp_path / name).read_text() == committed.read_text()
