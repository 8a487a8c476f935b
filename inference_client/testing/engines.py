"""What engines must keep to, as a class of tests to subclass."""

from __future__ import annotations

import copy
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Mapping, Sequence

import numpy as np
import pytest
from docarray import Document, DocumentArray

from .._messages import Request
from .._wire.protobuf import decode_message, encode_request, read_response
from ..engines.base import Engine
from ..engines.handler import handle
from ..errors import InputError, UnsupportedTaskError


class EngineConformance:
    """Subclass it as `TestMine`, and say what the engine takes.

    Attributes:
        engine_class: the class under test; it is made once.
        parameters: sent with each request.
        tolerance: how far numbers of an answer may differ from batch to batch, relative to their size.
    """

    engine_class: type[Engine]
    parameters: Mapping[str, Any] = {}
    tolerance = 1e-4

    def documents(self, task: str) -> Sequence[Document]:
        """At least three different documents that a task takes, as they arrive; made anew each time."""
        raise NotImplementedError(f'{type(self).__name__} needs documents(task): what the engine takes')

    def bad_documents(self, task: str) -> Sequence[Document]:
        """Documents that a task must refuse: by default an empty one, and one that names a file."""
        return [Document(), Document(uri=__file__)]

    @pytest.fixture
    def engine(self) -> Engine:
        """The engine, made once, without arguments as it is in use."""
        return _made(self.engine_class)

    def test_it_declares_its_tasks(self) -> None:
        """A frozen set of names, on the class, for a client asks before the model is loaded."""
        assert isinstance(self.engine_class.tasks, frozenset)
        assert self.engine_class.tasks
        assert all(task and isinstance(task, str) for task in self.engine_class.tasks)

    def test_documents_come_back_in_order(self, engine: Engine) -> None:
        """As many, with their ids, and so that they can be sent."""
        for task in self._tasks():
            documents = self.documents(task)
            assert len(documents) >= 3, f'documents({task!r}) gives fewer than three'
            answered = self._run(engine, task, documents)
            assert [answer.id for answer in answered] == [document.id for document in documents]
            sent = encode_request(Request('/', DocumentArray(answered)))
            assert len(read_response(decode_message(sent)).documents) == len(documents)

    def test_embeddings_are_float32(self, engine: Engine) -> None:
        """Of one shape, without NaN."""
        for task in self._tasks():
            embeddings = [one.embedding for one in self._run(engine, task, self.documents(task))]
            found = [embedding for embedding in embeddings if embedding is not None]
            assert {embedding.dtype for embedding in found} <= {np.dtype(np.float32)}
            assert len({embedding.shape for embedding in found}) <= 1
            assert all(np.isfinite(embedding).all() for embedding in found)

    def test_an_answer_depends_on_no_other_document(self, engine: Engine) -> None:
        """One at a time, all at once and backwards: the same within `tolerance`."""
        for task in self._tasks():
            together = [self._result(one) for one in self._run(engine, task, self.documents(task))]
            alone = [self._result(self._run(engine, task, [one])[0]) for one in self.documents(task)]
            backwards = [self._result(one) for one in self._run(engine, task, self.documents(task)[::-1])][::-1]
            for other in (alone, backwards):
                for one, same in zip(together, other):
                    self._compare(one, same)

    def test_threads_may_share_it(self, engine: Engine) -> None:
        """Each gets what it would get alone, and not what belongs to another."""
        for task in self._tasks():
            expected = [self._result(one) for one in self._run(engine, task, self.documents(task))]
            with ThreadPoolExecutor(8) as pool:
                batches = [_rotated(self.documents(task), turn) for turn in range(16)]
                under_way = [pool.submit(self._run, engine, task, batch) for batch in batches]
            for turn, future in enumerate(under_way):
                for one, same in zip(_rotated(expected, turn), future.result()):
                    self._compare(one, self._result(same))

    def test_documents_of_no_use_are_input_errors(self, engine: Engine) -> None:
        """And the engine goes on; what is in a file of that name is not looked at."""
        for task in self._tasks():
            for document in self.bad_documents(task):
                with pytest.raises(InputError):
                    self._run(engine, task, [document])
            assert self._run(engine, task, self.documents(task))

    def test_an_unknown_task_is_refused(self, engine: Engine) -> None:
        """By `UnsupportedTaskError`, which names those that there are."""
        task = next(iter(self._tasks()))
        with pytest.raises(UnsupportedTaskError):
            self._run(engine, 'no-such-task', self.documents(task))

    def test_parameters_stay_as_they_were(self, engine: Engine) -> None:
        """All requests of a call share them. Over a wire, all numbers are floats."""
        for task in self._tasks():
            parameters = {name: _over_a_wire(value) for name, value in self.parameters.items()}
            before = copy.deepcopy(parameters)
            assert self._run(engine, task, self.documents(task), parameters)
            assert parameters == before

    def _tasks(self) -> list[str]:
        return sorted(self.engine_class.tasks)

    def _run(
        self, engine: Engine, task: str, documents: Sequence[Document], parameters: Mapping[str, Any] | None = None
    ) -> list[Document]:
        given = dict(self.parameters) if parameters is None else parameters
        return list(handle(engine, Request(f'/{task}', DocumentArray(documents), given)))

    def _result(self, document: Document) -> Any:
        """What an answer says, for comparison."""
        matches = [(match.text, match.blob, _scores(match)) for match in document.matches]
        return document.embedding, dict(document.tags), document.text, document.blob, matches

    def _compare(self, one: Any, other: Any) -> None:
        if isinstance(one, (np.ndarray, float)):
            scale = max(1.0, float(np.abs(one).max(initial=0.0)))
            np.testing.assert_allclose(other, one, rtol=self.tolerance, atol=self.tolerance * scale)
        elif isinstance(one, (list, tuple)):
            assert len(one) == len(other)
            for part, same in zip(one, other):
                self._compare(part, same)
        elif isinstance(one, dict):
            assert one.keys() == other.keys()
            for key in one:
                self._compare(one[key], other[key])
        else:
            assert one == other


@functools.lru_cache(maxsize=None)
def _made(engine_class: type[Engine]) -> Engine:
    return engine_class()


def _rotated(values: Sequence[Any], turn: int) -> Sequence[Any]:
    start = turn % len(values)
    return [*values[start:], *values[:start]]


def _scores(document: Document) -> dict[str, float]:
    return {name: float(score.value) for name, score in document.scores.items()}


def _over_a_wire(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
