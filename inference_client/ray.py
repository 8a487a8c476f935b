"""Models in Ray Data (extra `[ray]`): classes for `map_batches`, each of whose actors holds one model.

    import ray
    from inference_client.ray import Encoder

    photos = ray.data.read_images('s3://bucket/photos', include_paths=True)
    vectors = photos.map_batches(
        Encoder,
        fn_constructor_kwargs={'model': 'grpc://127.0.0.1:51000', 'keep': ['path']},
        batch_size=64,
        compute=ray.data.ActorPoolStrategy(size=2),
    )

A batch is columns by name, as numpy arrays; it comes back with a column more, or with two. Ray runs a batch again whose
worker was lost, and no other.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Iterable, Mapping, Sequence

from ._files import Contents
from ._inputs import Text
from ._options import split
from ._registered import missing_extra
from .client import Client
from .errors import InferenceError, InputError

try:
    import pyarrow as pa

    from .parquet._columns import Row, match_with, missing, row_of, table_of
    from .parquet._inputs import image_of
except ImportError as error:
    raise missing_extra('inference_client.ray', error) from error

if TYPE_CHECKING:
    from .model import Model

__all__ = ['Answerer', 'Captioner', 'Encoder', 'Ranker', 'Worker']

GUESSED = ('image', 'bytes', 'text')  # as Ray's readers name their columns


class Worker:
    """What the four have in common; each answers by one task.

    Args:
        model: name or URL of the model; without one, the embedded model, in each actor.
        image: name of the column with images: pixels, bytes, names or URLs, or dicts of `bytes` and `path`.
        text: in its place, name of the column with texts. Without either, `image`, `bytes` or `text`, which is there.
        keep: names of the columns that come back; without it, all do.
        allow_private: whether images may be fetched from private addresses.
        protocol: as of `Client.get_model`.
        token: as of `Client`, or a function that gives it, which each worker calls; better leave it to the environment
            or stored login of each machine. Ray keeps a string among what it knows of the job.
        client: further arguments of `Client`.
        options: options and parameters as of `Model.stream`. With `on_item_error='return'`, rows come back with a
            column `error`, which is null where all is well.
    """

    task: ClassVar[str]
    column: ClassVar[str]
    _replaced: str | None = None  # a column of the input in whose place one of the task's comes back
    _type: pa.DataType | None = None  # of the answers, as far as it is known

    def __init__(
        self,
        model: str | None = None,
        *,
        image: str | None = None,
        text: str | None = None,
        keep: Sequence[str] | None = None,
        allow_private: bool = False,
        protocol: str | None = None,
        token: str | Callable[[], str | None] | None = None,
        client: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if image is not None and text is not None:
            raise InputError('expected one column: image= or text=')
        if not options.get('ordered', True):
            raise InputError('ordered=False does not go with Ray: answers go to the rows that they belong to')
        self._image, self._text = image, text
        self._keep = keep
        self._allow_private = allow_private
        self._options = options
        held = token() if callable(token) else token
        self._model: Model = Client(held, **(client or {})).get_model(model, protocol=protocol)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Answer the rows of a batch.

        Raises:
            InferenceError: as of `Model.stream`.
            InputError: a column is missing.
        """
        if not isinstance(batch, dict):
            raise InputError(f"the batch is a {type(batch).__name__}: expected batch_format='numpy' of map_batches")
        kept = {name: _column(batch, name) for name in (batch if self._keep is None else self._keep)}
        self._check(kept, self._adds())
        inputs = Contents(self._inputs(batch))
        rows = [row_of(answer, self.task) for answer in self._model.stream(self.task, inputs, **self._options)]
        answered = self._columns(rows)
        self._check(kept, answered)  # a fallback adds others
        return {**kept, **answered}

    def _adds(self) -> list[str]:
        """Names of the columns that are added, as far as they are known before anything is asked."""
        return [self.column, *(['error'] if self._returns_errors else [])]

    def _check(self, kept: Iterable[str], added: Iterable[str]) -> None:
        for name in kept:
            if name in added and name != self._replaced:
                raise InputError(f'the batch has a column {name!r} already: rename it, or leave it out with keep=')

    @property
    def _returns_errors(self) -> bool:
        return self._options.get('on_item_error') == 'return'

    def _inputs(self, batch: dict[str, Any]) -> Iterable[Any]:
        name = self._image or self._text or next((one for one in GUESSED if one in batch), None)
        if name is None:
            raise InputError(f'the batch has the columns {", ".join(batch)}: say which one with image= or text=')
        values = _column(batch, name)
        if self._text is not None or (self._image is None and name == 'text'):
            return map(Text, values)
        return (image_of(value, self._allow_private) for value in values)

    def _columns(self, rows: list[Row]) -> dict[str, Any]:
        kept = [{name: row[name] for name in row if name != 'input'} for row in rows]
        table = table_of(kept, {}, self._returns_errors)
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        if self.column in columns:
            self._type = columns[self.column].type
        elif 'embedding' not in columns:  # else it is the fallback's
            self._type = self._expected() if self._type is None else self._type
            columns[self.column] = missing(pa.null() if self._type is None else self._type, len(rows))
        return columns

    def _expected(self) -> pa.DataType | None:
        """The type of the answers before there was one: Parquet files of one folder want the same in all."""
        return None


class Encoder(Worker):
    """Embeds images or texts: adds the column `embedding`, lists of float32 of one size. Arguments as of `Worker`."""

    task = 'encode'
    column = 'embedding'

    def _expected(self) -> pa.DataType | None:
        """As of a short text; where the model takes none, as the server tells."""
        options, parameters = split(self._options)
        how = {'timeout': options.timeout, 'retry': options.retry}
        with contextlib.suppress(InferenceError):
            (answer,) = self._model.run(self.task, text='hello world', **how, **parameters)
            return table_of([row_of(answer, self.task)], {}, errors=False)[self.column].type
        with contextlib.suppress(InferenceError):
            size = self._model.capabilities(options.timeout).embedding_size
            return None if size is None else pa.list_(pa.float32(), size)
        return None


class Captioner(Worker):
    """Describes images: adds the column `response`, of strings. Arguments as of `Worker`."""

    task = 'caption'
    column = 'response'
    _type = pa.string()


class Answerer(Worker):
    """Answers questions about images: adds the columns `question`, as it was asked, and `response`, of strings.

    Args:
        model: as of `Worker`.
        question: one for all images.
        question_column: in its place, name of the column with questions; one called `question` is replaced.
        arguments: as of `Worker`.
    """

    task = 'vqa'
    column = 'response'
    _type = pa.string()

    def __init__(
        self,
        model: str | None = None,
        *,
        question: str | None = None,
        question_column: str | None = None,
        **arguments: Any,
    ) -> None:
        if (question is None) == (question_column is None):
            raise InputError('expected one of question= and question_column=')
        super().__init__(model, **arguments)
        self._question_column = question_column
        self._replaced = 'question' if question_column == 'question' else None
        if question is not None:
            self._options['question'] = question

    def _adds(self) -> list[str]:
        return ['question', *super()._adds()]

    def _inputs(self, batch: dict[str, Any]) -> Iterable[Any]:
        images = super()._inputs(batch)
        return images if self._question_column is None else zip(images, _column(batch, self._question_column))


class Ranker(Worker):
    """Orders candidates by how well they go with an image or text: adds the column `matches`.

    It has lists of structs, best first: `input`, the candidate's text or name, and its scores.

    Args:
        model: as of `Worker`.
        candidates: the same for all: texts, or images as in `Model.rank`.
        candidates_column: in their place, name of the column with lists of texts.
        arguments: as of `Worker`.
    """

    task = 'rank'
    column = 'matches'
    _type = pa.list_(match_with(('clip_score', 'clip_score_cosine')))

    def __init__(
        self,
        model: str | None = None,
        *,
        candidates: Sequence[Any] | None = None,
        candidates_column: str | None = None,
        **arguments: Any,
    ) -> None:
        if (candidates is None) == (candidates_column is None):
            raise InputError('expected one of candidates= and candidates_column=')
        super().__init__(model, **arguments)
        self._candidates = candidates
        self._candidates_column = candidates_column

    def _inputs(self, batch: dict[str, Any]) -> Iterable[Any]:
        references = super()._inputs(batch)
        if self._candidates_column is None:
            return ((reference, list(self._candidates or ())) for reference in references)
        lists = _column(batch, self._candidates_column)
        return (
            (reference, [] if texts is None else list(map(Text, texts))) for reference, texts in zip(references, lists)
        )


def _column(batch: dict[str, Any], name: str) -> Any:
    if name not in batch:
        raise InputError(f'the batch has no column {name!r}: it has {", ".join(batch)}')
    return batch[name]
