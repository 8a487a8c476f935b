"""Parameters that steer how a text is generated, as strangers send them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_client import InputError
from inference_client.engines._generation import BOUNDS, SAMPLING, generation

WHOLE = sorted(name for name, bound in BOUNDS.items() if bound.whole)


def test_without_parameters_texts_are_short():
    assert generation({}) == {'max_new_tokens': 30}


@pytest.mark.parametrize('name', WHOLE)
def test_a_whole_float_is_an_integer(name):
    chosen = generation({name: 3.0, 'do_sample': True})[name]
    assert (chosen, type(chosen)) == (3, int)


@pytest.mark.parametrize(
    ('parameters', 'words'),
    [
        ({'max_new_tokens': 0}, 'max_new_tokens is 0: expected an integer from 1 up to 512'),
        ({'max_new_tokens': 1e9}, 'expected an integer from 1 up to 512'),
        ({'max_new_tokens': 2.5}, r'2\.5: expected an integer'),
        ({'max_new_tokens': True}, 'True: expected an integer'),
        ({'max_new_tokens': '5'}, "'5': expected an integer"),
        ({'num_beams': 17}, 'num_beams is 17: expected an integer from 1 up to 16'),
        ({'temperature': 0, 'do_sample': True}, 'temperature is 0: expected a number above 0 and up to 10'),
        ({'top_p': math.nan, 'do_sample': True}, 'top_p is nan: expected a number above 0 and up to 1'),
        ({'length_penalty': -math.inf}, 'expected a number from -10 up to 10'),
        ({'do_sample': 1.0}, r'do_sample is 1\.0: expected True or False'),
        ({'max_tokens': 5}, "unknown parameter 'max_tokens': this model has do_sample, length_penalty, max_new_tokens"),
        ({'min_new_tokens': 31}, 'min_new_tokens is 31, which is more than max_new_tokens, 30'),
        ({'temperature': 0.5}, 'temperature has an effect only on samples: send do_sample=True'),
        ({'top_k': 5, 'do_sample': False}, 'top_k has an effect only on samples'),
    ],
)
def test_what_cannot_be_used_is_refused(parameters, words):
    with pytest.raises(InputError, match=words):
        generation(parameters)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from([*BOUNDS, 'do_sample']) | st.text(), VALUES))
def test_anything_is_refused_or_within_bounds(parameters):
    try:
        chosen = generation(parameters)
    except InputError:
        return
    for name, value in chosen.items():
        if name != 'do_sample':
            assert BOUNDS[name].low <= value <= BOUNDS[name].high
            assert isinstance(value, int) or name not in WHOLE
    assert chosen.get('do_sample') or not set(SAMPLING) & set(chosen)


@given(st.fixed_dictionaries({}, optional={name: st.floats(bound.low, bound.high) for name, bound in BOUNDS.items()}))
def test_what_is_within_bounds_is_taken(parameters):
    given_ = {
        name: max(1.0, float(round(value))) if name in WHOLE else max(value, 1e-6) for name, value in parameters.items()
    }
    given_['max_new_tokens'] = 512.0
    assert generation({**given_, 'do_sample': True}) == {**given_, 'do_sample': True}
