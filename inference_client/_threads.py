"""Threads that do not keep a process from its end."""

from __future__ import annotations

import threading
import weakref
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    Work = SimpleQueue[Callable[[], None] | None]


class Threads:
    """A pool of daemon threads. Those of `ThreadPoolExecutor` are waited for at exit, for as long as a request takes.

    They end with the pool, whether it was closed or forgotten.

    Args:
        count: at most.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads: list[threading.Thread] = []
        self._free = threading.Semaphore(0)
        self._work: Work = SimpleQueue()
        weakref.finalize(self, _end, self._work, self._threads).atexit = False

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call a function in a thread; the future holds what it gives or raises."""
        future: Future[Any] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(*arguments))
            except BaseException as error:  # noqa: BLE001 - it is raised where the future is asked
                future.set_exception(error)

        self._work.put(call)
        if not self._free.acquire(blocking=False) and len(self._threads) < self._count:
            thread = threading.Thread(target=_run, args=(self._work, self._free), name='inference-client', daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def close(self, wait: bool) -> None:
        """End the threads, each once it is free."""
        _end(self._work, self._threads)
        for thread in self._threads if wait else ():
            thread.join()


def _run(work: Work, free: threading.Semaphore) -> None:
    while True:
        call = work.get()
        if call is None:
            return
        call()
        del call  # not to hold what it came to while there is nothing to do
        free.release()


def _end(work: Work, threads: list[threading.Thread]) -> None:
    for _ in threads:
        work.put(None)
