"""What transports must keep to, as a class of tests to subclass."""

from __future__ import annotations

import copy
import logging
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from docarray import Document, DocumentArray

from .._messages import Request
from .._policies import Timeouts
from .._spec import Capabilities
from ..errors import InferenceError, InputError, ServerError, TransportError
from ._transport_kit import TOKEN, Connect, TransportKit, texts_of
from .models import seen

ORDINARY = ['hello', 'caf\u00e9', 'cafe\u0301', '\U0001f600 \u4f60\u597d \u05e9', ' two\nlines\t', 'x' * 100_000]
ODD = ['a\0b', '\ud800']
SLOW = 1.0  # seconds that the server takes at least for what is `slow`
PARAMETERS = {
    'text': 'ä',
    'number': 2,
    'part': 0.5,
    'flag': True,
    'nothing': None,
    'list': [1, 'a'],
    'dict': {'a': [False]},
}


class TransportConformance(TransportKit):
    """Subclass it as `TestMine`, and say where an echo server is.

    The server answers as `EchoEngine` does: `inference-client serve echo --no-auth` is one for `grpc`, `http` and
    `ws`. What the attributes leave out is skipped.

    Attributes:
        transport_class: the class under test; without it, the one that is registered for the scheme of the URL.
        endpoint: where the server echoes.
        unreachable_url: URL of this transport at which nobody listens.
        slow: parameters with which the server takes over a second; None where a request is not interrupted.
    """

    def test_the_answer_has_the_id_of_its_request(self, transport: Any) -> None:
        """`Response.id` is `Request.id`, whether it was made up or given."""
        for request in (self._request('a'), Request(self.endpoint, texts_of('a'), id='my own')):
            assert self._send(transport, request).id == request.id

    @pytest.mark.parametrize('count', [1, 2, 300])
    def test_as_many_documents_come_back(self, transport: Any, count: int) -> None:
        """In the order in which they were sent, or with the ids that they were sent with."""
        texts = [f'text {number}' for number in range(count)]
        sent = texts_of(*texts)
        ids = {document.id: document.text for document in sent}
        answered = list(self._send(transport, Request(self.endpoint, sent)).documents)
        assert len(answered) == count
        if {one.id for one in answered} == set(ids):
            assert all(one.text == ids[one.id] for one in answered)
        else:
            assert [one.text for one in answered] == texts

    @pytest.mark.parametrize('text', [*ORDINARY, *ODD], ids=lambda text: ascii(text[:20]))
    def test_text_arrives_unchanged_or_is_refused(self, transport: Any, text: str) -> None:
        """Not normalised, trimmed or cut; what cannot be sent is an `InputError`, and the connection goes on."""
        try:
            (answer,) = self._send(transport, self._request(text)).documents
        except InputError:
            assert text in ODD, 'an ordinary text was refused'
        else:
            assert answer.text == text
        assert self._send(transport, self._request('after')).documents[0].text == 'after'

    @pytest.mark.parametrize('blob', [bytes(range(256)), b'\0', b'\xff' * 200_000], ids=['bytes', 'nul', 'long'])
    def test_a_blob_arrives_unchanged(self, transport: Any, blob: bytes) -> None:
        """Any bytes, for encoded images. What came back as it was sent may be left out of the answer."""
        answer = self._looked_at(transport, Document(blob=blob))
        assert answer.blob in (blob, b'')
        assert answer.tags['seen']['blob'] == seen(Document(blob=blob))['blob']

    def test_pixels_arrive_unchanged(self, transport: Any) -> None:
        """uint8 of shape (height, width, 3), of every value; on the way they may be an encoded image."""
        pixels = np.arange(9 * 32 * 3, dtype=np.uint8).reshape(9, 32, 3)
        answer = self._looked_at(transport, Document(tensor=pixels.copy()))
        assert answer.tags['seen']['pixels'] == seen(Document(tensor=pixels))['pixels']
        assert answer.tensor is None or np.array_equal(answer.tensor, pixels)

    def test_tags_and_matches_arrive_unchanged(self, transport: Any) -> None:
        """Prompts travel in tags, candidates in matches, in their order and with their ids."""
        sent = Document(text='a', tags={'prompt': 'ä?'}, matches=[Document(text='b'), Document(text='c')])
        ids = [match.id for match in sent.matches]
        (answer,) = self._send(transport, Request(self.endpoint, DocumentArray([sent]))).documents
        assert answer.tags['prompt'] == 'ä?'
        assert [match.id for match in answer.matches] == ids
        assert [match.text for match in answer.matches] == ['b', 'c']

    def test_parameters_arrive(self, transport: Any) -> None:
        """All kinds of them; whole numbers may arrive as floats."""
        (answer,) = self._send(transport, Request(self.endpoint, texts_of('a'), dict(PARAMETERS))).documents
        assert answer.tags['parameters'] == PARAMETERS

    def test_threads_get_their_own_answers(self, transport: Any) -> None:
        """One transport serves all threads, at once."""
        start = threading.Barrier(8)

        def ask(number: int) -> list[str]:
            start.wait(30)
            return [self._send(transport, self._request(f'{number} {turn}')).documents[0].text for turn in range(10)]

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, range(8))) == [[f'{number} {turn}' for turn in range(10)] for number in range(8)]

    def test_it_may_be_closed_and_used_again(self, transport: Any) -> None:
        """Before it was used, twice, and in between."""
        transport.close()
        for text in ('a', 'b'):
            assert self._send(transport, self._request(text)).documents[0].text == text
            transport.close()
            transport.close()

    def test_it_may_be_closed_while_a_request_is_under_way(self, transport: Any) -> None:
        """That request is answered, or fails with a `TransportError`; the next one opens the connection anew."""
        slow = self._slow()
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(self._send, transport, self._request('a', **slow))
            time.sleep(0.3)
            transport.close()
            error = under_way.exception(60)
        assert error is None or isinstance(error, TransportError), error
        assert self._send(transport, self._request('b')).documents[0].text == 'b'

    def test_a_timeout_holds(self, transport: Any) -> None:
        """`send` ends by `timeouts.read`, not once the server answers, and its transport goes on."""
        self._send(transport, self._request('connected'))
        seconds = (self._seconds_to_time_out(transport) for _ in range(3))  # a machine may be busy once
        assert any(one < SLOW for one in seconds), 'it timed out only when the answer was there'
        assert self._send(transport, self._request('b')).documents[0].text == 'b'

    def test_what_the_model_raises_is_a_server_error(self, transport: Any) -> None:
        """With its words, and without harm to the next request."""
        with pytest.raises(ServerError, match='out of order'):
            self._send(transport, self._request('a', fail='out of order'))
        assert self._send(transport, self._request('b')).documents[0].text == 'b'

    def test_what_the_model_refuses_is_an_input_error(self, transport: Any) -> None:
        """With its words, and without harm to the next request."""
        with pytest.raises(InputError, match='not like this'):
            self._send(transport, self._request('a', refuse='not like this'))
        assert self._send(transport, self._request('b')).documents[0].text == 'b'

    def test_a_server_that_is_not_there(self, connect: Connect) -> None:
        """To make a transport opens nothing; to use it is a `TransportError`, and it is not ready."""
        transport = connect(self._unreachable())
        with pytest.raises(TransportError):
            self._send(transport, self._request('a'))
        with pytest.raises(TransportError):
            transport.is_ready(Timeouts().within(5))

    def test_the_token_is_in_no_error_and_no_log(
        self, connect: Connect, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nor in `repr` of the transport; causes of errors count, too."""
        caplog.set_level(logging.DEBUG)
        said = []
        for where in filter(None, (url, self.unreachable_url)):
            transport = connect(where)
            said.append(repr(transport))
            with pytest.raises(InferenceError) as caught:
                self._send(transport, self._request('a', fail='out of order'))
            said.append(''.join(traceback.format_exception(caught.type, caught.value, caught.tb)))
            said.append(repr(vars(caught.value)))
        assert TOKEN not in ''.join(said)
        assert TOKEN not in caplog.text

    def test_a_server_that_answers_is_ready(self, transport: Any) -> None:
        """Before the first request and after."""
        assert transport.is_ready(Timeouts().within(30)) is True
        self._send(transport, self._request('a'))
        assert transport.is_ready(Timeouts().within(30)) is True

    def test_what_is_not_known_of_a_model_is_none(self, transport: Any) -> None:
        """`Capabilities`, before the first request and after; names are str, and numbers count."""
        for text in ('a', 'b'):
            found = transport.capabilities(Timeouts().within(30))
            assert isinstance(found, Capabilities)
            for names in (found.tasks, found.modalities):
                assert names is None or (isinstance(names, frozenset) and all(isinstance(one, str) for one in names))
            for number in (found.embedding_size, found.max_batch, found.max_tokens):
                assert number is None or (isinstance(number, int) and number > 0)
            self._send(transport, self._request(text))

    def test_parameters_and_options_stay_as_they_were(self, transport: Any) -> None:
        """All requests of a call share the parameters."""
        parameters: dict[str, Any] = copy.deepcopy(PARAMETERS)
        options = copy.deepcopy(transport.options)
        self._send(transport, Request(self.endpoint, texts_of('a'), parameters))
        assert parameters == PARAMETERS
        assert transport.options == options

    def test_a_model_puts_answers_in_order(self, transport: Any, url: str) -> None:
        """As `Model` uses it: several requests at once."""
        texts = [f'text {number}' for number in range(50)]
        answered = self._ask_model(transport, texts, batch_size=3, prefetch=8)
        assert [document.text for document in answered] == texts
