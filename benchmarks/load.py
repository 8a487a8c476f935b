"""Many clients at once, for a while, against the service: errors, answers mixed up, memory, throughput and latency.

Each client has a connection and texts of its own, sends one text after the other, and compares each answer with what
the model gives in this process: it must be nearest to the embedding of the text that was sent, among those of all
clients. Nothing is sent again, so every failure shows. `load.json` gets the results, and `docs/scaling.md` the table.
All of it takes eleven minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator, Sequence

import numpy as np
from report import DOCS, WIRES, between_marks

from inference_client import AsyncClient, Client, RetryPolicy

HERE = Path(__file__).resolve().parent
PAGE = DOCS / 'scaling.md'
TEXTS_EACH = 3  # texts of one client
TIMEOUT = 60.0  # seconds for one call
GROWTH = 1.1  # more memory at the end than after the first third is a leak
SPARE = 16.0  # MB that are none
WORKER = 'inference_client.server.worker'


@dataclass
class Outcome:
    """What all clients of one run saw.

    Attributes:
        latencies: seconds, one a call that was answered.
        errors: what was raised.
        wrong: answers to another text than the one that was sent.
        seconds: of the run.
        memory: MB of the service's processes after a third of the run, and at its end.
        killed: processes of the model that were killed.
    """

    latencies: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    wrong: int = 0
    seconds: float = 0.0
    memory: list[float] = field(default_factory=list)
    killed: int = 0

    @property
    def leaks(self) -> bool:
        """Whether memory grew; not to be told after a kill."""
        early, late = self.memory
        return not self.killed and late > GROWTH * early + SPARE

    @property
    def good(self) -> bool:
        """No error, no answer mixed up, memory flat."""
        return bool(self.latencies) and not (self.errors or self.wrong or self.leaks)

    def summary(self) -> dict[str, Any]:
        """As numbers for the table."""
        p50, p99 = np.percentile(self.latencies, [50, 99]) * 1000 if self.latencies else (0.0, 0.0)
        return {
            'answers': len(self.latencies),
            'errors': len(self.errors),
            'wrong': self.wrong,
            'killed': self.killed,
            'seconds': round(self.seconds, 1),
            'per_second': round(len(self.latencies) / self.seconds, 1),
            'p50': round(float(p50), 1),
            'p99': round(float(p99), 1),
            'memory': [round(one) for one in self.memory],
        }


def texts_of(client: int) -> list[str]:
    """The texts of one client, which no other has."""
    return [f'{word} number {client}' for word in ('a photo of a cat', 'the rocket', 'one cup of coffee')[:TEXTS_EACH]]


def expected(clients: int) -> np.ndarray:
    """The embeddings of all texts of all clients, of length 1, by the model in this process."""
    texts = [text for client in range(clients) for text in texts_of(client)]
    with Client() as here:
        embeddings = np.stack([one.embedding for one in here.get_model().encode(text=texts, batch_size=1)])
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


async def load(
    url: str, service: int, known: np.ndarray, seconds: float, kill: bool = False, calls: int | None = None
) -> Outcome:
    """Let one client for each `TEXTS_EACH` of the known embeddings ask, for so many seconds.

    Args:
        url: of the service.
        service: its process.
        known: the embeddings, from `expected`.
        seconds: of the run.
        kill: end a process of the model when a third of the time, or of the calls, is over.
        calls: end when this many were answered, whatever the time.
    """
    outcome = Outcome()
    start = time.perf_counter()
    third = asyncio.Event()

    def part() -> float:
        return len(outcome.latencies) / calls if calls else (time.perf_counter() - start) / seconds

    async def ask(model: Any, client: int) -> None:
        texts = texts_of(client)
        turn = 0
        while part() < 1:
            if part() > 1 / 3:
                third.set()
            turn += 1
            await _one(model, texts, client, turn % TEXTS_EACH, known, outcome)
        third.set()  # a call may take all that was left

    async def look() -> None:
        await third.wait()
        outcome.memory.append(memory(service))
        if kill:
            os.kill(workers(service)[0], signal.SIGKILL)
            outcome.killed += 1

    async with AsyncExitStack() as stack:
        models = []
        for _ in range(len(known) // TEXTS_EACH):
            one = AsyncClient(trust_env=False, retry=RetryPolicy(attempts=1))
            models.append(await (await stack.enter_async_context(one)).get_model(url))
        start = time.perf_counter()
        await asyncio.gather(look(), *(ask(model, client) for client, model in enumerate(models)))
        outcome.seconds = time.perf_counter() - start
        outcome.memory.append(memory(service))
    return outcome


async def _one(model: Any, texts: list[str], client: int, turn: int, known: np.ndarray, outcome: Outcome) -> None:
    before = time.perf_counter()
    try:
        answer = (await model.encode(text=texts[turn], timeout=TIMEOUT))[0]
    except Exception as error:  # noqa: BLE001 - all of them are counted
        outcome.errors.append(f'{type(error).__name__}: {error}')
        return
    outcome.latencies.append(time.perf_counter() - before)
    outcome.wrong += int(np.argmax(known @ answer.embedding)) != client * TEXTS_EACH + turn


def children(process: int) -> dict[int, str]:
    """The command lines of a process and of all that it started."""
    parents = {}
    for path in Path('/proc').glob('[0-9]*'):
        try:
            stat, line = (path / 'stat').read_text(), (path / 'cmdline').read_bytes()
        except OSError:  # it ended meanwhile
            continue
        parents[int(path.name)] = int(stat.rpartition(')')[2].split()[1]), line.replace(b'\0', b' ').decode()
    found = {process: parents[process][1]}
    while True:
        more = {one: line for one, (parent, line) in parents.items() if parent in found and one not in found}
        if not more:
            return found
        found.update(more)


def workers(service: int) -> list[int]:
    """The processes of the models of a service."""
    return [process for process, line in children(service).items() if WORKER in line]


def memory(service: int) -> float:
    """MB in use by a service and its models. What processes share is divided among them."""
    total = 0
    for process in children(service):
        try:
            lines = Path(f'/proc/{process}/smaps_rollup').read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith('Pss:'))
    return total / 1024


@contextmanager
def service(
    replicas: int, model: str = 'embedded', python: str = sys.executable
) -> Iterator[tuple[dict[str, str], int]]:
    """A service with so many processes of a model: its URLs by scheme, and its process."""
    command = [python, '-m', 'inference_client', 'serve', '--no-auth', model, '--replicas', str(replicas)]
    command += [one for wire in WIRES for one in (f'--{wire}-port', '0')]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline().strip() for _ in range(len(WIRES) + 1)]  # the last: it is ready
            yield {line.partition('://')[0]: line for line in lines[:-1]}, process.pid
        finally:
            process.terminate()


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        f'Measured on {results["machine"]}, with {results["clients"]} clients in one process on the same machine'
        f'{results["remark"]}. Memory: the service and its models, after a third of the time and at its end.',
        '',
        '| replicas | wire | answers | errors | mixed up | a second | p50 ms | p99 ms | memory MB |',
        '| --- | --- | --- | --- | --- | --- | --- | --- | --- |',
    ]
    for one in sorted(results['runs'], key=lambda run: (run['killed'], run['replicas'])):
        cells = (
            f'{one["replicas"]}, one killed' if one['killed'] else one['replicas'],
            WIRES[one['wire']],
            f'{one["answers"]:,} in {one["seconds"]:.0f} s',
            one['errors'],
            one['wrong'],
            *(f'{one[name]:,.0f}' for name in ('per_second', 'p50', 'p99')),
            ', '.join(map(str, one['memory'])),
        )
        lines.append(f'| {" | ".join(map(str, cells))} |')
    return '\n'.join(lines)


def measure(options: argparse.Namespace) -> Iterator[tuple[dict[str, Any], Outcome]]:
    """Each run, one after the other."""
    known = expected(options.clients)
    runs = [(replicas, options.seconds, False) for replicas in options.replicas]
    runs += [(2, options.kill_seconds, True)] * bool(options.kill_seconds)
    for replicas, seconds, kill in runs:
        with service(replicas) as (urls, process):
            for wire in options.wires:
                outcome = asyncio.run(load(urls[wire], process, known, seconds, kill))
                yield {'replicas': replicas, 'wire': wire, **outcome.summary()}, outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; the exit code is 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--clients', type=int, default=200)
    parser.add_argument('--seconds', type=float, default=60)
    parser.add_argument('--replicas', type=int, nargs='*', default=[1, 2, 4])
    parser.add_argument('--wires', nargs='+', choices=WIRES, default=list(WIRES))
    parser.add_argument(
        '--kill-seconds', type=float, default=20, help='of runs in which one of two processes is killed; 0: none'
    )
    parser.add_argument('--add', action='store_true', help='keep the runs that load.json has')
    parser.add_argument('--remark', default='', help='what the table says of the machine')
    options = parser.parse_args(arguments)
    path = HERE / 'load.json'
    runs = json.loads(path.read_text())['runs'] if options.add else []
    good = True
    for run, outcome in measure(options):
        print(run, outcome.errors[:3], flush=True)
        runs.append(run)
        good = good and outcome.good
    machine = f'{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}'
    results = {'machine': machine, 'clients': options.clients, 'remark': options.remark, 'runs': runs}
    path.write_text(json.dumps(results, indent=1) + '\n')
    PAGE.write_text(between_marks(PAGE.read_text(), table(results)))
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
