"""One lazily made pool of threads per process, for kernels that run outside the GIL.

Nothing starts at import; a forked child makes its own pool. Results never depend on the number of threads: work is cut
into chunks that write to places of their own. numba's parallel mode is not used: it dies with two Python threads or
after a fork.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_pool: ThreadPoolExecutor | None = None


def thread_count() -> int:
    """Return how many threads a call uses unless told: VECIO_THREADS, else the processors this process may use."""
    text = os.environ.get("VECIO_THREADS", "")
    if text.isdigit() and int(text) > 0:
        return int(text)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_chunks(work: Callable[[int, int], None], n: int, chunk: int, threads: int | None = None) -> None:
    """Call `work(start, stop)` for consecutive ranges that cover `0 .. n`, on several threads.

    A range is `chunk` long at the most. With one range or one thread everything runs in the caller. The first
    exception is raised again when all ranges have ended.
    """
    count = thread_count() if threads is None else threads
    if count < 1:
        raise ValueError(f"threads must be at least 1, not {count}")
    ranges = [(start, min(start + chunk, n)) for start in range(0, n, chunk)]
    if count == 1 or len(ranges) < 2:
        for start, stop in ranges:
            work(start, stop)
        return
    _run_on_pool(work, ranges, min(count, len(ranges)))


def _run_on_pool(work: Callable[[int, int], None], ranges: list[tuple[int, int]], count: int) -> None:
    """Let `count` threads (the caller is one of them) take ranges until none is left."""
    waiting = iter(ranges)  # next() on a list iterator is atomic

    def take() -> None:
        for start, stop in waiting:
            work(start, stop)

    others = [_get_pool().submit(take) for _ in range(count - 1)]
    try:
        take()
    finally:
        failed = [error for error in (other.exception() for other in others) if error is not None]
    if failed:
        raise failed[0]


def _get_pool() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        from concurrent.futures import ThreadPoolExecutor

        _pool = ThreadPoolExecutor(max_workers=max(64, os.cpu_count() or 1), thread_name_prefix="vecio")
    return _pool


class Lock:
    """A lock that a forked child finds open, whoever held it in the parent: what it guards can be made twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Open the lock in a child that was just forked."""
        self._lock = threading.Lock()


_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def _after_fork() -> None:
    """Forget the pool, whose threads are the parent's, and open all locks."""
    global _pool
    _pool = None
    for lock in list(_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
