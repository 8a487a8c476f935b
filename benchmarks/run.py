"""Compares this client with its peers and with the floor, on one server in one run: `python benchmarks/run.py`.

Contenders take turns, round by round, so that what else the machine does falls on all of them; figures are medians over
the rounds, and ratios are taken within each round. Needs the extra `[server]`, `tests/jina.txt` and, for the third
contender, `pip install --no-deps clip-client==0.8.3`. Writes `results.json`, of which `report.py` makes tables and
plots.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

import numpy as np
from contenders import WIRES, Jina, Ours, contenders, read_urls
from PIL import Image

HERE = Path(__file__).resolve().parent
TEXTS = [f'a photo of thing number {number}' for number in range(2048)]
CALLS = 40  # of the single call, in a round
THREADS = 8
AT_ONCE = 1000


def rounds(count: int, works: dict[str, Callable[[], Any]]) -> dict[str, dict[str, list[float]]]:
    """Wall and CPU milliseconds of each work, in turns; the order changes from round to round."""
    taken: dict[str, dict[str, list[float]]] = {name: {'wall': [], 'cpu': []} for name in works}
    for number in range(count):
        names = list(works)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            wall, cpu = time.perf_counter(), time.process_time()
            works[name]()
            taken[name]['cpu'].append((time.process_time() - cpu) * 1000)
            taken[name]['wall'].append((time.perf_counter() - wall) * 1000)
    return taken


def single(urls: dict[str, str], count: int) -> dict[str, Any]:
    """Milliseconds of a call with one short text: the 50th and 95th percentile of each round."""
    found = {}
    for wire in WIRES:
        opened = list(contenders(urls, wire, 'single'))
        percentiles: dict[str, dict[str, list[float]]] = {}
        for one in opened:
            for _ in range(CALLS):
                assert np.shape(one.single()) == (512,)
        for number in range(count):
            for one in opened[number % len(opened) :] + opened[: number % len(opened)]:
                times = sorted(_milliseconds(one.single) for _ in range(CALLS))
                kept = percentiles.setdefault(one.name, {'p50': [], 'p95': []})
                kept['p50'].append(statistics.median(times))
                kept['p95'].append(times[int(CALLS * 0.95)])
        found[wire] = percentiles
        _close(opened)
    return found


def bulk(urls: dict[str, str], count: int) -> dict[str, Any]:
    """Milliseconds for 2,048 short texts."""
    found = {}
    for wire in WIRES:
        opened = list(contenders(urls, wire, 'bulk'))
        for batch in (8, 32, 128):
            works = {one.name: lambda one=one, batch=batch: one.bulk(TEXTS, batch) for one in opened}
            for work in works.values():
                assert len(work()) == len(TEXTS)
            found[f'{wire} {batch}'] = rounds(count, works)
        _close(opened)
    return found


def images(urls: dict[str, str], count: int) -> dict[str, Any]:
    """Milliseconds for 64 JPEG images of 200 kB, 8 in a request."""
    found, sent = {}, [_jpeg(number) for number in range(64)]
    for wire in WIRES:
        opened = list(contenders(urls, wire, 'images'))
        works = {one.name: lambda one=one: one.images(sent, 8) for one in opened}
        for work in works.values():
            assert len(work()) == len(sent)
        found[wire] = rounds(count, works)
        _close(opened)
    return found


def threads(urls: dict[str, str], count: int) -> dict[str, Any]:
    """Milliseconds that 8 threads with one client need for a request each, which takes the server a second."""
    found = {}
    for wire in WIRES:
        opened = list(contenders(urls, wire, 'slow'))
        for one in opened:
            one.single()  # connects
        with ThreadPoolExecutor(THREADS) as pool:
            works = {one.name: lambda one=one: list(pool.map(lambda _: one.slow(), range(THREADS))) for one in opened}
            found[wire] = rounds(min(count, 3), works)
        _close(opened)
    return found


def at_once(urls: dict[str, str], count: int) -> dict[str, Any]:
    """Milliseconds for 1,000 calls of one text each at once, from one event loop."""
    found = {}
    for wire in WIRES:
        works = {Ours.name: lambda wire=wire: asyncio.run(_ours_at_once(urls[wire]))}
        if wire != 'http':  # there it opens 1,000 connections, and fails
            works[Jina.name] = lambda wire=wire: asyncio.run(_jina_at_once(urls[wire]))
        found[wire] = rounds(count, works)
    return found


async def _ours_at_once(url: str) -> None:
    from inference_client import AsyncClient

    async with AsyncClient(trust_env=False) as client:
        model = await client.get_model(url)
        answers = await asyncio.gather(*(model.encode(text=f'text {number}') for number in range(AT_ONCE)))
    assert [answer[0].text for answer in answers] == [f'text {number}' for number in range(AT_ONCE)]


async def _jina_at_once(url: str) -> None:
    from docarray import Document, DocumentArray
    from jina import Client

    client = Client(host=url, asyncio=True)

    async def one(number: int) -> None:
        async for _ in client.post('/encode', DocumentArray([Document(text=f'text {number}')])):
            pass

    await asyncio.gather(*(one(number) for number in range(AT_ONCE)))


def memory(urls: dict[str, str], count: int) -> dict[str, Any]:
    """Peak MB of a process that streams a generator of 2,000 and of 200,000 texts, one process each."""
    found: dict[str, Any] = {}
    for wire in ('grpc', 'ws'):
        for kind in ('Ours', 'Jina'):
            name = {'Ours': Ours.name, 'Jina': Jina.name}[kind]
            peaks = [float(_child(_STREAM.format(kind=kind, url=urls[wire], count=size))) for size in (2000, 200_000)]
            found.setdefault(wire, {})[name] = {'2,000': [peaks[0]], '200,000': [peaks[1]]}
    return found


# The peak is read from the system: that of `getrusage` begins with what the parent had.
_STREAM = """
from contenders import {kind}
client = {kind}({url!r})
assert client.stream(f'text {{number}}' for number in range({count})) == {count}
print(next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM')) / 1024)
"""


def start(urls: dict[str, str], count: int) -> dict[str, Any]:
    """Milliseconds to import, and from a cold process to the first answer of the embedded model and of the server."""
    codes = {
        'import inference_client': 'import inference_client',
        'import jina': 'import jina',
        'first local answer': 'from inference_client import Client; Client().get_model().encode(text="hi")',
        'first gRPC answer': _FIRST.format(url=urls['grpc']),
        'first gRPC answer of jina.Client': _FIRST_OF_JINA.format(url=urls['grpc']),
    }
    timed = 'import time; start = time.perf_counter()\n{}\nprint((time.perf_counter() - start) * 1000)'
    return {name: {'wall': [float(_child(timed.format(code))) for _ in range(count)]} for name, code in codes.items()}


_FIRST = 'from inference_client import Client; Client().get_model({url!r}).encode(text="hi")'
_FIRST_OF_JINA = """
from docarray import Document, DocumentArray
from jina import Client
Client(host={url!r}).post('/encode', DocumentArray([Document(text='hi')]))
"""


def _child(code: str) -> str:
    command = [sys.executable, '-W', 'ignore', '-c', code]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True, timeout=900)
    return done.stdout.split()[-1]


def _jpeg(seed: int) -> bytes:
    pixels = np.random.RandomState(seed).randint(0, 256, (380, 380, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'JPEG', quality=92)
    return buffer.getvalue()


def _milliseconds(work: Callable[[], Any]) -> float:
    before = time.perf_counter()
    work()
    return (time.perf_counter() - before) * 1000


def _close(opened: list[Any]) -> None:
    for one in opened:
        one.close()


WORKS = {work.__name__: work for work in (single, bulk, images, threads, at_once, memory, start)}


def main() -> None:
    """Run the works that are asked for; those that are not keep their results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('works', nargs='*', metavar='WORK', help=f'of {", ".join(WORKS)}; all without any')
    parser.add_argument('--rounds', type=int, default=9, help='how often each is measured (9)')
    parser.add_argument('--output', type=Path, default=HERE / 'results.json')
    options = parser.parse_args()
    unknown = set(options.works) - set(WORKS)
    if unknown:
        parser.error(f'unknown work {unknown.pop()!r}: expected {", ".join(WORKS)}')
    results = json.loads(options.output.read_text()) if options.output.exists() else {}
    results['machine'] = f'{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}'
    command = [sys.executable, str(HERE / 'server.py')]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        urls = read_urls(server)
        for name in options.works or WORKS:
            results[name] = WORKS[name](urls, options.rounds)
            options.output.write_text(json.dumps(results, indent=1) + '\n')
            print(f'{name}: done', flush=True)
        assert server.stdin is not None
        server.stdin.close()


if __name__ == '__main__':
    main()
