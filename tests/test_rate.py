"""How often a client may ask: against a model of what a token bucket is, and in bounded memory."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_client import ConfigurationError
from inference_client.server import rate
from inference_client.server.rate import RateLimiter


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def limiter(per_second, burst):
    clock = Clock()
    return RateLimiter(per_second, burst, clock), clock


def test_a_burst_then_so_many_a_second():
    limit, clock = limiter(2, 3)
    assert [limit.delay('a') for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limit.delay('a') == pytest.approx(0.5)
    clock.now += 0.25
    assert limit.delay('a') == pytest.approx(0.25)
    clock.now += 0.25
    assert limit.delay('a') == 0.0
    assert limit.delay('a') == pytest.approx(0.5)
    clock.now += 100
    assert [limit.delay('a') for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limit.delay('a') > 0


def test_keys_do_not_count_for_each_other():
    limit, _ = limiter(1, 1)
    assert limit.delay('a') == limit.delay('b') == 0.0
    assert limit.delay('a') > 0
    assert limit.delay('b') > 0
    assert limit.delay('c') == 0.0


@given(
    per_second=st.floats(0.01, 1000),
    burst=st.integers(1, 50),
    steps=st.lists(st.tuples(st.sampled_from('abc'), st.floats(0, 10)), max_size=200),
)
def test_never_more_than_the_rate_and_never_less(per_second, burst, steps):
    limit, clock = limiter(per_second, burst)
    asked = {}
    for key, wait in steps:
        clock.now += wait
        delay = limit.delay(key)
        times = asked.setdefault(key, [])
        if delay == 0.0:
            times.append(clock.now)
            for first in range(len(times)):  # in any span of time
                assert len(times) - first <= burst + (clock.now - times[first]) * per_second + 1e-6
        else:
            assert 0 < delay <= 1 / per_second + 1e-9
            clock.now += delay + 1e-6
            assert limit.delay(key) == 0.0  # as it was told
            times.append(clock.now)


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(rate, 'MOST_KEYS', 100)
    limit, _ = limiter(1, 10)
    for number in range(1000):
        limit.delay(str(number))
    assert len(limit._buckets) <= 100
    assert limit.delay('999') == 0.0


def test_who_asks_on_is_not_forgotten_for_others(monkeypatch):
    monkeypatch.setattr(rate, 'MOST_KEYS', 100)
    limit, _ = limiter(0.001, 1)
    assert limit.delay('greedy') == 0.0
    for number in range(1000):
        limit.delay(str(number))
        assert limit.delay('greedy') > 0


def test_what_is_full_again_is_forgotten():
    limit, clock = limiter(1, 10)
    for number in range(50):
        limit.delay(str(number))
    assert len(limit._buckets) == 50
    clock.now += 11
    limit.delay('new')
    assert list(limit._buckets) == ['new']


def test_threads_share_a_bucket():
    limit, _ = limiter(0.001, 100)
    passed = []

    def ask():
        for _ in range(50):
            if limit.delay('a') == 0.0:
                passed.append(1)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 100


@pytest.mark.parametrize(
    ('per_second', 'burst'),
    [(0, 1), (-1, 1), (1, 0), (1, 0.5), (float('nan'), 1), (float('inf'), 1), (1, float('nan'))],
)
def test_values_of_no_use(per_second, burst):
    with pytest.raises(ConfigurationError, match='lets nobody in'):
        RateLimiter(per_second, burst)
