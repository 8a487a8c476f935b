"""How many requests may be under way, after what a server took and what it did not."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_client._throttle import LONGEST_SPREAD, Throttle

MOST = 8


def simulated(places, requests):
    """Send requests to a server with so many places, as many at once as are allowed; gives how many it refused."""
    throttle, under_way, done, refused = Throttle(MOST), deque(), 0, 0
    while done < requests:
        while len(under_way) < throttle.allowed:
            taken = sum(under_way) < places
            under_way.append(taken)
            if not taken:
                under_way.pop()
                throttle.refused(len(under_way), 0.0, 1.0, 0.0)
                refused += 1
        under_way.popleft()
        throttle.answered()
        done += 1
    return refused


@pytest.mark.parametrize('places', [1, 2, 3, 5])
def test_what_was_too_many_is_tried_ever_less_often(places):
    first, more = simulated(places, 200), simulated(places, 2000)
    assert first <= 16
    assert more - first <= 1800 // 30  # once in 64 rounds


def test_a_server_that_takes_all_is_sent_all_again():
    throttle = Throttle(MOST)
    for others in reversed(range(MOST)):
        throttle.refused(others, 0.0, 1.0, 0.0)
    assert throttle.allowed == 1
    for _ in range(sum(range(1, MOST))):
        throttle.answered()
    assert throttle.allowed == MOST


@given(st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 20), st.floats(0, 100), st.floats(0, 1))), max_size=60))
def test_one_is_always_allowed_and_no_more_than_at_first(events):
    throttle, now = Throttle(MOST), 0.0
    for event in events:
        before = throttle.until
        if event is None:
            throttle.answered()
        else:
            others, wait, random = event
            throttle.refused(others, wait, now, random)
            assert throttle.until >= before
            assert throttle.until <= max(before, now + wait + LONGEST_SPREAD)
            assert throttle.held(now) >= wait - 1e-9
        assert 1 <= throttle.allowed <= MOST
        now += 1


def test_clients_that_are_sent_away_together_come_back_apart():
    """The first time it may be this one alone; those that are refused at once with it wait no longer."""

    def ends(random):
        throttle = Throttle(MOST)
        throttle.until = 5.0
        for _ in range(3):
            now = throttle.until
            throttle.refused(0, 1.0, now, random)
            throttle.refused(0, 1.0, now, random)
            yield throttle.until

    assert list(ends(0.0)) == [6.0, 7.0, 8.0]
    assert list(ends(0.5)) == [6.0, 7.5, 10.0]
    assert list(ends(1.0)) == [6.0, 8.0, 12.0]
