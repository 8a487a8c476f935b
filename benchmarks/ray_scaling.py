"""How a job on Ray Data grows with its workers: one or two of them, on a cluster of two nodes of this machine.

    pip install '.[local,ray]' && python benchmarks/ray_scaling.py

One job waits for a stand-in that answers each request after 50 ms, as a remote server would; the other computes with
the embedded model, on the cores of this machine. The rate leaves out the first batch: starting workers takes seconds.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import time
from typing import Any, Iterator

import numpy as np

from inference_client.ray import Encoder
from inference_client.testing import FakeTransport, Fault, client_for

os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
os.environ['RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER'] = '0'  # keeps to 127.0.0.1; read when ray is imported
BATCH = 64
# One worker goes to a node, because each has one slot.
NODE = {'num_cpus': 2, 'resources': {'slot': 1}, 'object_store_memory': 80 << 20, 'node_ip_address': '127.0.0.1'}


class Computing(Encoder):
    """The embedded model, which also says when each row was answered."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        answered = super().__call__(batch)
        return {**answered, 'at': np.full(len(batch['text']), time.time())}


class Waiting(Computing):
    """A server that takes 50 ms for each request, and one request after the other."""

    def __init__(self) -> None:
        super().__init__(batch_size=16, prefetch=1)
        slow: Iterator[Fault] = itertools.repeat(Fault(delay=0.05))
        self._model = client_for(FakeTransport(faults=slow)).get_model('x')


def rate(worker: type[Computing], workers: int, count: int) -> float:
    """Rows a second, once the first batch is answered."""
    import ray

    rows = ray.data.from_items([{'text': f'text number {i}'} for i in range(count)], override_num_blocks=count // BATCH)
    done = rows.map_batches(
        worker,
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=workers),
        resources={'slot': 1},
    ).take_all()
    times = sorted(row['at'] for row in done)
    late = [at for at in times if at > times[0]]
    return len(late) / (late[-1] - times[0])


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--rows', type=int, default=4096)
    settings = parser.parse_args()
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, 'include_dashboard': False})
    try:
        cluster.add_node(**NODE)
        ray.init(address=cluster.address, _node_ip_address='127.0.0.1', logging_level=logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False
        for _, worker, workers in itertools.product(range(settings.rounds), (Waiting, Computing), (1, 2)):
            load = os.getloadavg()[0]
            found = rate(worker, workers, settings.rows)
            print(f'{worker.__name__}, {workers} workers: {found:.0f} rows/s, load before it {load:.1f}', flush=True)
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == '__main__':
    main()
