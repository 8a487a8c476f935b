"""What a server understands: tasks become calls of its API, and its answers documents. No I/O.

Over 250 lines, because the class is one list of what a dialect may replace.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Container, Iterable, List, Mapping, Sequence, TypeVar

import numpy as np
from docarray import Document

from ..._http import printable
from ..._messages import Request
from ..._policies import RETRY
from ..._scores import score_by_cosine, unit_rows
from ..._spec import Capabilities
from ...errors import (
    InferenceError,
    InputError,
    ProtocolError,
    RateLimitError,
    RequestTooLargeError,
    UnsupportedTaskError,
)
from .address import Address
from .content import candidates, modality
from .failures import failure
from .http import HttpAnswer, HttpCall, Steps, get
from .limits import UNLIMITED, Limits

if TYPE_CHECKING:
    from .reading import Row

Parameters = Mapping[str, Any]
In = TypeVar('In')
Out = TypeVar('Out')
Make = Callable[[Sequence[In]], HttpCall]
Read = Callable[[HttpCall, Any], List[Out]]


class Dialect(ABC):
    """One server. A subclass says what it can do, and writes `embed_call` and `read_embeddings`, or whole tasks.

    The methods that talk to the server are generators: each `yield` of a call gives its answer, and `yield from
    self.ask(call)` what is in it. A dialect is shared by threads; what it remembers of the server may be written
    twice, to the same end.

    Attributes:
        address: where the server is.
        limits: what it takes.
    """

    server: ClassVar[str]
    """What it is called in errors."""

    tasks: frozenset[str]
    """What it can be asked to do at all."""

    modalities: frozenset[str] = frozenset({'text', 'image'})
    """What it embeds at all."""

    one_each: ClassVar[frozenset[str]] = frozenset({'rank', 'caption', 'vqa'})
    """Tasks of which a request takes one document: larger ones are split, so that each fails by itself."""

    ready_path: ClassVar[str] = '/models'
    """What answers 200 when the model does."""

    url_options: ClassVar[Sequence[str]] = ()
    """Names that the query of its URL may have."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.limits = Limits()
        self.size: int | None = None  # of the embeddings that came

    def run(self, request: Request) -> Steps[list[Document]]:
        """Answer a request with its own documents.

        Raises:
            UnsupportedTaskError: the server cannot do this. Nothing was sent.
        """
        task, documents = request.endpoint.lstrip('/'), list(request.documents)
        runners: dict[str, Callable[..., Steps[None]]] = {
            'encode': self.encode,
            'rank': self.rank,
            'caption': self.caption,
            'vqa': self.vqa,
        }
        self._check_offer(task, runners)
        if len(documents) > 1 and task in self.one_each:
            raise RequestTooLargeError(f'{self.server} takes one document a request for {task}: send them one by one')
        self._check(task, documents)
        yield from self.prepare()
        self._check_offer(task, runners)  # by what is known of the server now
        self._check(task, documents)
        yield from runners[task](documents, request.parameters)
        return documents

    def prepare(self) -> Steps[None]:
        """Find out what must be known of the server before any task; here nothing."""
        return
        yield

    def encode(self, documents: Sequence[Document], parameters: Parameters) -> Steps[None]:
        """Give each document its embedding.

        Raises:
            RequestTooLargeError: the server takes one at a time, and there are more.
        """
        kinds = [self.checked(document) for document in documents]
        for kind in sorted(set(kinds)):
            yield from self.prepare_to_embed(kind)
            if self.limits.most(kind) == 1 < kinds.count(kind):
                raise RequestTooLargeError(f'{self.server} takes one {kind} a call: send them one by one')
        rows = yield from self.embeddings(documents, parameters)
        for document, row in zip(documents, rows):
            document.embedding = row

    def rank(self, documents: Sequence[Document], parameters: Parameters) -> Steps[None]:
        """Order the matches of each document: here by the cosines of embeddings."""
        for document in documents:
            matches = candidates(document)
            rows = yield from self.embeddings([document, *matches], parameters)
            unit = unit_rows(np.stack(rows).astype(np.float64))
            score_by_cosine(document, unit[1:] @ unit[0])

    def caption(self, documents: Sequence[Document], parameters: Parameters) -> Steps[None]:
        """Describe each image in `tags['response']`."""
        raise NotImplementedError

    def vqa(self, documents: Sequence[Document], parameters: Parameters) -> Steps[None]:
        """Answer the question in `tags['prompt']` about each image in `tags['response']`."""
        raise NotImplementedError

    @abstractmethod
    def embed_call(self, kind: str, documents: Sequence[Document], parameters: Parameters) -> HttpCall:
        """The call that embeds documents of one modality."""

    @abstractmethod
    def read_embeddings(self, call: HttpCall, answer: Any) -> list[Row]:
        """The embeddings in the answer to a call, in the order of its inputs; see `reading`."""

    def embeddings(self, documents: Sequence[Document], parameters: Parameters) -> Steps[list[Row]]:
        """Embed texts and images, each modality in calls of its own, in the order of the documents."""
        kinds = [self.checked(document) for document in documents]
        rows: dict[int, Row] = {}
        for kind in sorted(set(kinds)):
            yield from self.prepare_to_embed(kind)
            places = [place for place, its in enumerate(kinds) if its == kind]
            found = yield from self.embed(kind, [documents[place] for place in places], parameters)
            rows.update(zip(places, found))
        ordered = [rows[place] for place in range(len(documents))]
        if len({row.size for row in ordered}) > 1:
            raise ProtocolError('texts and images got embeddings of different sizes: this is no multimodal model')
        self.size = ordered[0].size
        return ordered

    def checked(self, document: Document) -> str:
        """The modality of a document that is to be embedded.

        Raises:
            InputError: it has none.
            UnsupportedTaskError: the server embeds no such thing.
        """
        kind = modality(document)
        if kind not in self.modalities:
            raise UnsupportedTaskError(
                f'{self.server} embeds no {kind}s: it takes {", ".join(sorted(self.modalities))}'
            )
        return kind

    def prepare_to_embed(self, kind: str) -> Steps[None]:
        """Find out what must be known of the server before it embeds something of a modality; here nothing."""
        return
        yield

    def ask(self, call: HttpCall) -> Steps[Any]:
        """Make a call and give the JSON that answers it.

        Raises:
            InferenceError: what `failure` makes of another status than 200, or of an error in place of a result.
            ProtocolError: the answer is no JSON.
        """
        answer = yield call
        if answer.status != 200:
            raise self.failure(call, answer)
        found = answer.json()
        if isinstance(found, dict) and found.get('error'):
            raise self.failure(call, answer)
        return found

    def at(self, path: str) -> str:
        """A path of the version that the URL names."""
        return self.address.version + path

    def shown(self, names: Iterable[object]) -> str:
        """Names that the server told, for an error."""
        return ', '.join(printable(str(name), self.address.headers.get('Authorization')) for name in names) or 'none'

    def ready(self) -> Steps[bool]:
        """Whether the model would answer."""
        yield from self.knock()
        return True

    def knock(self) -> Steps[HttpAnswer]:
        """Ask at `ready_path`, and give the answer of a server that is up: one that has no such path is, too."""
        call = get(self.at(self.ready_path))
        answer = yield call
        if answer.status not in (200, 404, 405):
            raise self.failure(call, answer)
        return answer

    def capabilities(self) -> Steps[Capabilities]:
        """What the server can do, as far as it tells; asking it again each time."""
        yield from self.ready()
        return self.known()

    def known(self) -> Capabilities:
        """What is known by now."""
        most = min(map(self.limits.most, self.modalities), default=UNLIMITED)
        return Capabilities(
            tasks=self.tasks,
            modalities=self.modalities,
            embedding_size=self.size,
            max_batch=None if most == UNLIMITED else most,
            max_tokens=self.limits.tokens,
        )

    def failure(self, call: HttpCall, answer: HttpAnswer) -> InferenceError:
        """The error for an answer that is no result."""
        return failure(self.server, self.limits, call, answer)

    def in_parts(self, kind: str, items: Sequence[In], make: Make[In], read: Read[Out]) -> Steps[list[Out]]:
        """What comes of items that are independent of each other, asked in calls as large as the server takes.

        Args:
            kind: their modality.
            items: at least one.
            make: makes the call for some of them.
            read: gives what the answer to a call says of each.
        """
        results: list[Out] = []
        most = len(items)
        while len(results) < len(items):
            most = min(most, self.limits.most(kind))
            part = items[len(results) : len(results) + most]
            call = make(part)
            try:
                if len(part) > 1 and len(call.data) > self.limits.size:
                    raise RequestTooLargeError('a request of this size was refused before')
                answer = yield from self._ask_patiently(call) if results else self.ask(call)
            except RequestTooLargeError:
                if len(part) == 1:
                    raise
                if self.limits.most(kind) >= len(part):  # it was not the number, or no other was named
                    most = len(part) // 2
                continue
            results += read(call, answer)
        return results

    def _ask_patiently(self, call: HttpCall) -> Steps[Any]:
        """As `ask`, but again for as long as the server takes no more for now: what was answered would be lost.

        That is no attempt at the request, so that no policy is asked.
        """
        refusals = 0
        while True:  # until the time of its request is over
            try:
                return (yield from self.ask(call))
            except RateLimitError as error:
                refusals += 1
                pause = error.retry_after or random.uniform(0.5, 1) * RETRY.longest(refusals)
                call = replace(call, pause=pause, refusal=error)

    def embed(self, kind: str, documents: Sequence[Document], parameters: Parameters) -> Steps[list[Row]]:
        """Embeddings of documents of one modality."""

        def make(part: Sequence[Document]) -> HttpCall:
            return self.embed_call(kind, part, parameters)

        rows = yield from self.in_parts(kind, documents, make, self.read_embeddings)
        return rows

    def _check_offer(self, task: str, runners: Container[str]) -> None:
        if task not in self.tasks or task not in runners:
            offered = ', '.join(sorted(self.tasks)) or 'none of the tasks'
            raise UnsupportedTaskError(f'{self.server} cannot {task}: it offers {offered}')

    def _check(self, task: str, documents: Sequence[Document]) -> None:
        """See that the server takes what the documents hold, before anything is sent."""
        for document in documents:
            if task not in ('caption', 'vqa'):
                for one in [document, *(candidates(document) if task == 'rank' else ())]:
                    self.checked(one)
            elif modality(document) != 'image':
                raise InputError(f'document {document.id} has text: expected an image')
