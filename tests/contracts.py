"""What public specifications say of the requests and the answers of other servers, as JSON Schemas in `specs/`.

Each file there says where it is from, and has the routes that are used here: names, types, limits, what is required.
A request is held to that more strictly than by a server, which may ignore what it does not know: a field that the
specification does not name does not fit. Without jsonschema, as in `tox -e oldest`, nothing is checked.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

try:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
except ImportError:
    Draft202012Validator = None

SPECS = Path(__file__).resolve().parent / 'specs'


class Contract:
    """One specification; what it `extends` is part of it.

    Attributes:
        source: where it is from.
        routes: names of schemas by `request` and `answer`, by `METHOD /path/{of any}`.
    """

    def __init__(self, name):
        found = json.loads((SPECS / f'{name}.json').read_text())
        base = contract(found['extends']) if 'extends' in found else None
        self.source = found['source'] + (f'; {base.source}' if base else '')
        self.routes = {**(base.routes if base else {}), **found['routes']}
        self.schemas = {**(base.schemas if base else {}), **found['$defs']}

    def route(self, method, path):
        """The schemas of one route, or None if it is not in the specification."""
        for route, schemas in self.routes.items():
            pattern = re.sub(r'\\\{\w+\\\}', '[^/]+', re.escape(route))
            if re.fullmatch(pattern, f'{method} {path}'):
                return schemas
        return None

    def check(self, name, value):
        """See that a value fits a schema.

        Raises:
            AssertionError: it does not.
        """
        if Draft202012Validator is None or name is None:
            return
        error = best_match(self.validator(name).iter_errors(value))
        where = error and ''.join(f'[{part!r}]' for part in error.absolute_path)
        assert error is None, f'{name}{where} does not fit: {error.message:.300} ({self.source})'

    def fields(self, name):
        """All fields that an object of a schema may have."""
        schema = self.schemas[name]
        parts = [part['$ref'].rpartition('/')[2] for part in schema.get('anyOf', ())]
        return set(schema.get('properties', ())).union(*map(self.fields, parts))

    @functools.lru_cache(None)  # noqa: B019 - there are few, and they live as long as the tests
    def validator(self, name):
        return Draft202012Validator({'$ref': f'#/$defs/{name}', '$defs': self.schemas})


@functools.lru_cache(None)
def contract(name):
    """A specification of `specs/`, by its name."""
    return Contract(name)
