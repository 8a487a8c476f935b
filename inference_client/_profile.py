"""Where the time of a round trip goes, by the times that a server writes into its answers.

    client ──send──▶ gateway ──▶ model ──▶ gateway ──receive──▶ client
                     ╰──────── server ────────╯

What a part took is what its inner parts took together: the rounds that are shown are real ones, no averages.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Iterator, Sequence

from docarray import DocumentArray

from ._documents import copy_tree
from ._echo import outgoing
from ._messages import Request, Response, Route
from .errors import InputError, hidden

if TYPE_CHECKING:
    from .tasks.base import Call, Task

SECOND = 1_000_000_000  # nanoseconds
LONGEST_NAME = 60  # characters of a server's own names


@dataclass(frozen=True)
class Part:
    """A part of a round trip.

    Attributes:
        name: such as `send`, `server`, or what the server calls a model.
        seconds: that it took.
        parts: what it consists of, as far as that is known.
    """

    name: str
    seconds: float
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Profile:
    """Round trips of one request, taken apart; `print` shows a tree.

    Attributes:
        url: the model's address.
        task: what was asked.
        connect: seconds that the first round trip took longer than the others, time in the server aside:
            connecting, and over HTTP a request in JSON to a service that takes protobuf, which its first answer tells;
            or with `local://` loading the model. 0 where that had been done before.
        rounds: the round trips after the first, in their order. The parts of each are `send` (with the writing of
            the request), `server` and `receive` (with the reading of the answer); `network` in place of the outer
            two where the server's clock shows another time; none where the server tells no times.
    """

    url: str
    task: str
    connect: float
    rounds: tuple[Part, ...]

    @property
    def fastest(self) -> Part:
        """The shortest round trip."""
        return min(self.rounds, key=_seconds)

    @property
    def median(self) -> Part:
        """The round trip in the middle; of an even number, the shorter one of the two."""
        return sorted(self.rounds, key=_seconds)[(len(self.rounds) - 1) // 2]

    @property
    def note(self) -> str:
        """What is not known, and why; '' where all is."""
        names = {part.name for part in self.median.parts}
        if not names and not _is_local(self.url):
            return 'the server tells no times in its answers, so the whole round trip is all that is known'
        return "the server's clock shows another time, so sending and receiving are one" if 'network' in names else ''

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON: seconds everywhere."""
        return {
            'url': self.url,
            'task': self.task,
            'rounds': len(self.rounds),
            'connect': self.connect,
            'median': asdict(self.median),
            'fastest': asdict(self.fastest),
            'note': self.note,
        }

    def __str__(self) -> str:
        lines = ['  ' * depth + label for depth, label in self._labels(2)]
        return '\n'.join([self._title(), *lines, *([self.note] if self.note else [])])

    def __rich__(self) -> Any:
        from rich.text import Text
        from rich.tree import Tree

        branches = [Tree(Text(self._title(), style='bold'))]
        for depth, label in self._labels(4):
            del branches[depth:]
            branches.append(branches[-1].add(Text(label)))
        if self.note:
            branches[0].add(Text(self.note, style='dim'))
        return branches[0]

    def _title(self) -> str:
        return f'{self.task} on {self.url}, median of {len(self.rounds)} rounds, fastest {_shown(self.fastest.seconds)}'

    def _labels(self, indent: int) -> Iterator[tuple[int, str]]:
        """Depth and text of each line; all numbers are below each other where a depth takes so many columns."""
        median = self.median
        first = Part('load the model, once' if _is_local(self.url) else 'connect, once', self.connect)
        rows = [(1, first, ''), *((depth, one, f'{_share(one, median):6.0%}') for depth, one in _walk(median, 1))]
        width = max(len(one.name) + indent * depth for depth, one, _ in rows)
        for depth, one, share in rows:
            yield depth, f'{one.name:<{width - indent * depth}}{_shown(one.seconds):>13}{share}'


class Probe:
    """Takes the times of round trips, whoever makes them: iterate over its requests, and hand in each answer.

    Args:
        url: the model's address.
        task: what is asked.
        call: its documents and parameters.
        rounds: round trips after the first.
        token: taken out of what the server calls its parts.
    """

    def __init__(self, url: str, task: Task[Any], call: Call, rounds: int, token: str | None) -> None:
        if not isinstance(rounds, int) or isinstance(rounds, bool) or rounds < 1:
            raise InputError(f'rounds is {rounds!r}: expected a whole number of at least 1')
        self._url = url
        self._task = task
        self._parameters = call.parameters
        self._documents = list(call.documents)
        if not self._documents:
            raise InputError(f'nothing to {task.name}: the input is empty; give at least one item')
        self._count = rounds + 1
        self._token = token
        self._whole = 'run' if _is_local(url) else 'round trip'
        self._rounds: list[Part] = []

    def __iter__(self) -> Iterator[Request]:
        for _ in range(self._count):
            documents = DocumentArray([outgoing(copy_tree(one)) for one in self._documents])
            request = Request(self._task.endpoint, documents, self._parameters)
            self._began, self._start = time.time_ns(), time.perf_counter_ns()
            yield request

    def answered(self, response: Response) -> None:
        """Take the answer to the last request.

        Raises:
            UnsupportedTaskError: it lacks what the task is for, so that its times say nothing.
        """
        took = time.perf_counter_ns() - self._start
        for document in response.documents:
            self._task.accept(document)
        self._rounds.append(_round(self._began, took, self._named(response.routes()), self._whole))

    def profile(self) -> Profile:
        """What came of it."""
        first, *rounds = self._rounds
        connect = max(0.0, _outside(first) - min(map(_outside, rounds)))
        return Profile(self._url, self._task.name, connect, tuple(rounds))

    def _named(self, routes: Sequence[Route]) -> list[Route]:
        return [Route(_name(one.name, self._token), one.start, one.end) for one in routes]


def _round(began: int, took: int, routes: Sequence[Route], whole: str) -> Part:
    """A round trip; all times in nanoseconds, `began` and the routes' of the epoch."""
    timed = sorted((one for one in routes if 0 < one.start <= one.end), key=lambda one: (one.start, -one.end))
    if not timed:
        return Part(whole, took / SECOND)
    start, end = timed[0].start, max(one.end for one in timed)
    if end - start > took:  # the clock was set meanwhile
        return Part(whole, took / SECOND)
    server = Part('server', (end - start) / SECOND, _stages(timed, start, end))
    send, receive = start - began, began + took - end
    if send < 0 or receive < 0:
        return Part(whole, took / SECOND, (Part('network', (send + receive) / SECOND), server))
    return Part(whole, took / SECOND, (Part('send', send / SECOND), server, Part('receive', receive / SECOND)))


def _stages(timed: Sequence[Route], start: int, end: int) -> tuple[Part, ...]:
    """The parts of the time in the server: its gateway, and behind that the models."""
    gateway, *models = timed
    if not models or gateway.end < end:  # no gateway that all went through
        return ()
    stages = [Part(one.name, (one.end - one.start) / SECOND) for one in models]
    busy, until = 0, start
    for one in models:
        busy += max(0, one.end - max(one.start, until))
        until = max(until, one.end)
    together = busy < sum(one.end - one.start for one in models)
    inner = (Part('models at the same time', busy / SECOND, tuple(stages)),) if together else tuple(stages)
    return (Part(gateway.name, (end - start - busy) / SECOND), *inner)


def _outside(round_trip: Part) -> float:
    """Seconds outside of the server."""
    return round_trip.seconds - sum(part.seconds for part in round_trip.parts if part.name == 'server')


def _name(name: str, token: str | None) -> str:
    """A server's name for something, fit to be shown."""
    shown = hidden(name, token)[:LONGEST_NAME]
    return ''.join(one if one.isprintable() else ' ' for one in shown) or '(no name)'


def _seconds(part: Part) -> float:
    return part.seconds


def _shown(seconds: float) -> str:
    return f'{seconds * 1000:.2f} ms'


def _share(part: Part, whole: Part) -> float:
    return part.seconds / whole.seconds if whole.seconds else 0.0


def _walk(part: Part, depth: int) -> Iterator[tuple[int, Part]]:
    yield depth, part
    for inner in part.parts:
        yield from _walk(inner, depth + 1)


def _is_local(url: str) -> bool:
    return url.startswith('local:')
