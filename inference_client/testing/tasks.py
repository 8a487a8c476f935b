"""What tasks must keep to, as a class of tests to subclass."""

from __future__ import annotations

import copy
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import pytest
from docarray import Document, DocumentArray

from .._checks import check_parameters
from .._messages import Request
from .._wire.protobuf import encode_request
from ..errors import InputError, ProtocolError, UnsupportedTaskError
from ..tasks.base import Call, Task
from .clients import client_for
from .fakes import FakeTransport

JUNK: Sequence[Any] = (
    object(),
    3,
    float('nan'),
    True,
    b'',
    '',
    {},
    {1},
    [object()],
    [None],
    len,
    Document(),
    np.zeros(3),
)


class TaskConformance:
    """Subclass it as `TestMine`, and say what the task takes and what a model answers.

    Attributes:
        task: the class under test.
        bad_arguments: keywords that `prepare` must refuse, at once or as its documents are pulled.
        stream_arguments: keywords that `model.stream` needs besides the inputs.
    """

    task: type[Task[Any]]
    bad_arguments: Sequence[Mapping[str, Any]] = ({},)
    stream_arguments: Mapping[str, Any] = {}

    def arguments(self) -> Sequence[Mapping[str, Any]]:
        """Keywords that go together, a dict for each way to call the task; made anew each time."""
        raise NotImplementedError(f'{type(self).__name__} needs arguments(): keywords that the task takes')

    def inputs(self) -> Sequence[Any]:
        """At least two different inputs of a stream, made anew each time."""
        raise NotImplementedError(f'{type(self).__name__} needs inputs(): items that a stream of the task takes')

    def answer(self, document: Document) -> Document:
        """Do with a document what a model does, in place."""
        raise NotImplementedError(f'{type(self).__name__} needs answer(document): what a model makes of it')

    def test_it_says_what_it_is(self) -> None:
        """A name and an endpoint, and what it requires and falls back to."""
        assert self.task.name and isinstance(self.task.name, str)
        assert self.task().endpoint.startswith('/')
        assert isinstance(self.task.requires, frozenset)
        assert self.task.fallback is None or isinstance(self.task.fallback, str)

    def test_arguments_become_documents_that_can_be_sent(self) -> None:
        """Each way to call it; parameters are plain data."""
        for arguments in self.arguments():
            call = self.task().prepare(**arguments)
            check_parameters(dict(call.parameters))
            documents = list(call.documents)
            assert documents
            assert encode_request(Request('/', DocumentArray(documents), call.parameters))

    def test_what_the_caller_gave_stays_as_it_was(self) -> None:
        """`prepare` copies, tags and matches too: whatever happens to its documents is not the caller's affair."""
        for arguments in self.arguments():
            before = copy.deepcopy({name: _plain(value) for name, value in arguments.items()})
            for document in self.task().prepare(**arguments).documents:
                _spoil(document)
            assert {name: _plain(value) for name, value in arguments.items()} == before
        inputs = list(self.inputs())
        before_inputs = copy.deepcopy(_plain(inputs))
        for document in self._stream(inputs).documents:
            _spoil(document)
        assert _plain(inputs) == before_inputs

    def test_other_keywords_are_parameters(self) -> None:
        """What the task does not know is for the model; so in streams."""
        for arguments in self.arguments():
            call = self.task().prepare(**arguments, of_the_kit=[1, {'a': None}])
            assert call.parameters['of_the_kit'] == [1, {'a': None}]
        assert self._stream(self.inputs(), of_the_kit='x').parameters['of_the_kit'] == 'x'

    def test_a_stream_is_pulled_lazily(self) -> None:
        """Nothing before the first document is asked for, and then an input for each."""
        pulled = []

        def noting() -> Iterator[Any]:
            for value in self.inputs():
                pulled.append(value)
                yield value

        documents = iter(self._stream(noting()).documents)
        assert pulled == []
        for count in range(1, len(self.inputs()) + 1):
            next(documents)
            assert len(pulled) == count

    def test_arguments_of_no_use_are_input_errors(self) -> None:
        """Those that do not go together, and a value of the wrong kind in place of each argument."""
        assert self.bad_arguments, 'bad_arguments is empty: there is always something to refuse'
        for arguments in self.bad_arguments:
            with pytest.raises(InputError):
                list(self.task().prepare(**arguments).documents)
        for arguments in self.arguments():
            for name in arguments:
                for junk in JUNK:
                    self._try({**arguments, name: junk})

    def test_a_bad_item_of_a_stream_costs_no_other(self) -> None:
        """It is an `InputError` with the item, and the iterator goes on, as `map` does and a generator does not."""
        first, second = self.inputs()[:2]
        bad = object()
        documents = iter(self._stream([first, bad, second]).documents)
        assert isinstance(next(documents), Document)
        with pytest.raises(InputError) as caught:
            next(documents)
        assert caught.value.item is bad
        assert isinstance(next(documents), Document)
        assert list(documents) == []

    def test_an_answer_is_accepted_and_an_echo_refused(self) -> None:
        """Servers send documents back as they came where no model handles them; an old answer counts for nothing."""
        for arguments in self.arguments():
            task = self.task()
            (document, *_) = task.prepare(**arguments).documents
            with pytest.raises((UnsupportedTaskError, ProtocolError)):
                task.accept(copy.deepcopy(document))
            assert isinstance(task.accept(self.answer(copy.deepcopy(document))), Document)
        answered = [self.answer(document) for document in self._stream(self.inputs()).documents]
        task = self.task()
        for document in task.prepare_stream(answered, **self.stream_arguments).documents:
            with pytest.raises((UnsupportedTaskError, ProtocolError)):
                task.accept(document)

    def test_a_model_runs_it(self) -> None:
        """By class, over a wire, in one call and as a stream, whatever the batches."""
        fake = FakeTransport(lambda request: [self.answer(document) for document in request.documents])
        with client_for(fake) as client:
            model = client.get_model()
            for arguments in self.arguments():
                assert model.run(self.task, **arguments) is not None
            for batch_size in (1, 2, 32):
                inputs = self.inputs()
                stream = model.stream(self.task, iter(inputs), batch_size=batch_size, **self.stream_arguments)
                assert len(list(stream)) == len(inputs)

    def _stream(self, inputs: Any, **more: Any) -> Call:
        return self.task().prepare_stream(inputs, **self.stream_arguments, **more)

    def _try(self, arguments: Mapping[str, Any]) -> None:
        try:
            list(self.task().prepare(**arguments).documents)
        except InputError:
            return  # any other error fails the test


def _plain(value: Any) -> Any:
    """A value as it can be compared."""
    if isinstance(value, Document):
        return encode_request(Request('/', DocumentArray([value]), id='-')), value.uri
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, (list, tuple, DocumentArray)):
        return [_plain(inner) for inner in value]
    return value


def _spoil(document: Document) -> None:
    for inner in [document, *document.matches, *document.chunks]:
        inner.tags['spoilt'] = True
        for nested in inner.tags.values():
            if isinstance(nested, dict):
                nested['spoilt'] = True
        inner.text = 'spoilt'
    document.matches = document.chunks = []
