"""What all benchmarks share: processes under test, clocks, memory figures, the machine, and the table of results.

The rules: every program runs in a process of its own (peers.py) and, where it is a peer, in an environment of its own;
rounds alternate between the programs; medians are judged, minima (or the best rate) stand beside them; a
ratio is peer : vecio of medians from the same run. Linux only: memory figures come from
/proc. Only the standard library is used.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

PEERS = Path(__file__).with_name("peers.py")
FULL_SIZE = {"words": 2_000_000, "buckets": 2_000_000, "dim": 300}
#: What keeps every library to `threads` threads.
THREAD_VARIABLES = (
    "VECIO_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


class PeerError(Exception):
    """A program under test failed or is not installed; the text is its own."""


# ---- Arguments -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Context:
    """The arguments of a run."""

    folder: Path  # the big files
    vecio: Path  # the interpreter that vecio is installed for
    peers: Path  # the interpreter of the peers' environment
    predict: Path  # the interpreter of the environment of fasttext-predict
    data: Path | None  # folder with models/fasttext/lid.176.ftz and classification/
    out: Path  # folder for the figures, one JSON file a topic
    rounds: int
    skip: frozenset[str]  # peers left out
    drop_caches: bool

    def python(self, subject: str) -> Path:
        """Return the interpreter that a subject of peers.py runs in."""
        if subject == "vecio":
            return self.vecio
        if subject in ("model2vec", "sentence-transformers"):
            return self.peers.parent.parent.parent / "peers-encode" / "bin" / "python"
        return self.predict if subject == "fasttext-predict" else self.peers

    def file(self, name: str) -> Path:
        """Return the path of one of the big files; raises SystemExit where it is missing."""
        path = self.folder / name
        if not path.exists():
            raise SystemExit(f"{path} is missing: run tools/bench/make_big.py --dir {self.folder} first")
        return path

    def native(self, ngrams: str, dtype: str) -> Path:
        """Return the path of a native file of the model with n-grams `ngrams` ("55", "36"), converting it if needed."""
        path = self.folder / f"big{ngrams}.{dtype}.safetensors"
        source = self.file(f"big{ngrams}.bin")
        if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
            note(f"converting {source.name} to {path.name}")
            with Session(self, "vecio") as vecio:
                vecio.call("convert", source=str(source), target=str(path), dtype=dtype)
        return path

    def exported(self, name: str) -> Path:
        """Return the path of vectors.npy, words.txt or queries.npy: the word vectors (5 to 5) for the peers."""
        names = ("vectors.npy", "words.txt", "queries.npy")
        paths = {each: self.folder / each for each in names}
        source = self.file("big55.bin")
        made = paths["vectors.npy"]
        if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
            note("writing all word vectors as a plain array for the peers")
            with Session(self, "vecio", threads=os.cpu_count() or 1) as vecio:
                vecio.call("load", path=str(source))
                vecio.call(
                    "export",
                    vectors=str(made),
                    words=str(paths["words.txt"]),
                    queries=str(paths["queries.npy"]),
                    unknown=str(self.file("unknown.txt")),
                    count=1000,
                )
        return paths[name]

    def keyed(self) -> Path:
        """Return the path of gensim's own file of the word vectors."""
        path = self.folder / "words.kv"
        vectors = self.exported("vectors.npy")
        if not path.exists() or path.stat().st_mtime < vectors.stat().st_mtime:
            note("writing gensim's own file")
            with Session(self, "gensim-keyed") as gensim:
                words = str(self.exported("words.txt"))
                gensim.call("make", words=words, vectors=str(vectors), target=str(path))
        return path

    def facts(self) -> dict[str, Any]:
        """Return what make_big.py wrote about the big files."""
        facts: dict[str, Any] = json.loads(self.file("big.json").read_text(encoding="utf-8"))
        return facts

    def full_size(self) -> bool:
        """Return whether the big files have the size that the goals are about."""
        return all(self.facts()[name] == value for name, value in FULL_SIZE.items())


def arguments(description: str, words: Iterable[str] | None = None) -> Context:
    """Read the arguments that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    add_arguments(parser)
    return context(parser.parse_args(None if words is None else list(words)))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the shared arguments to a parser."""
    parser.add_argument("--dir", type=Path, default=Path("bench-data"), help="the big files (make_big.py)")
    parser.add_argument("--vecio", type=Path, default=Path(sys.executable), help="interpreter with vecio")
    parser.add_argument("--peers", type=Path, help="environments of make_peers.py (default: DIR)")
    parser.add_argument(
        "--data", type=Path, help="folder with models/fasttext/lid.176.ftz and classification/"
    )
    parser.add_argument("--out", type=Path, help="folder for the figures (default: DIR/figures)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measurement")
    parser.add_argument("--skip", default="", help="peers to leave out, separated by commas")
    parser.add_argument(
        "--drop-caches", action="store_true", help="cold runs empty the whole page cache (root)"
    )


def context(chosen: argparse.Namespace) -> Context:
    """Make a Context of parsed arguments."""
    peers = chosen.peers or chosen.dir
    return Context(
        folder=chosen.dir.absolute(),
        vecio=chosen.vecio.absolute(),
        peers=(peers / "peers" / "bin" / "python").absolute(),
        predict=(peers / "peers-predict" / "bin" / "python").absolute(),
        data=chosen.data.absolute() if chosen.data else None,
        out=(chosen.out or chosen.dir / "figures").absolute(),
        rounds=chosen.rounds,
        skip=frozenset(filter(None, chosen.skip.split(","))),
        drop_caches=chosen.drop_caches,
    )


def note(text: str) -> None:
    """Say on standard error what is going on."""
    print(f"[{datetime.now():%H:%M:%S}] {text}", file=sys.stderr, flush=True)


# ---- Processes -------------------------------------------------------------------------------------------------------


def environment(threads: int) -> dict[str, str]:
    """Return the variables of a process under test."""
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), "PYTHONHASHSEED": "0"}


class Session:
    """A process of peers.py that runs one program under test; `call` sends a request and waits for the reply."""

    def __init__(self, context: Context, subject: str, threads: int = 1) -> None:
        python = context.python(subject)
        if not python.exists():
            raise PeerError(f"{subject}: {python} is missing (tools/bench/make_peers.py makes the peers)")
        self.subject = subject
        self.process = subprocess.Popen(
            [os.fspath(python), os.fspath(PEERS), subject],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(threads),
        )
        self.usage: Any = None
        try:
            self.hello = self.call("hello")
        except PeerError:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    def call(self, op: str, **arguments: Any) -> dict[str, Any]:
        """Run one operation; raises PeerError where the program failed or died."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerError(f"{self.subject}: the process ended during {op}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise PeerError(f"{self.subject}: {op}: {reply['error']}")
        return reply

    def close(self) -> None:
        """End the process and wait for it."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        if self.process.returncode is None:
            _, status, self.usage = os.wait4(self.process.pid, 0)
            self.process.returncode = os.waitstatus_to_exitcode(status)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def sessions(
    context: Context, wanted: Mapping[str, tuple[str, Path | None, int]]
) -> Iterator[dict[str, Session]]:
    """Start the programs `wanted` (name: subject, file to load or None, threads), leaving out those that cannot."""
    with ExitStack() as stack:
        started: dict[str, Session] = {}
        for name, (subject, path, threads) in wanted.items():
            if subject in context.skip:
                continue
            try:
                session = stack.enter_context(Session(context, subject, threads))
                if path is not None:
                    note(f"{name}: loading {path.name}")
                    session.call("load", path=str(path))
                started[name] = session
            except PeerError as error:
                note(f"left out: {error}")
        yield started


def alternate(
    started: Mapping[str, Session], rounds: int, op: str, warm_up: bool = True, **arguments: Any
) -> dict[str, list[dict[str, Any]]]:
    """Run an operation `rounds` times in every session, taking turns; one more round goes before and is not counted."""
    replies: dict[str, list[dict[str, Any]]] = {name: [] for name in started}
    failed: set[str] = set()
    for turn in range(rounds + warm_up):
        for name, session in started.items():
            if name in failed:
                continue
            try:
                reply = session.call(op, **arguments)
            except PeerError as error:
                note(f"left out: {error}")
                failed.add(name)
                continue
            if turn >= warm_up:
                replies[name].append(reply)
    return {name: got for name, got in replies.items() if got}


def run_process(command: list[str], threads: int = 1) -> dict[str, float]:
    """Run a command; return its wall and CPU seconds and its peak resident memory in MB."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment(threads)
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise PeerError(f"{' '.join(command[:3])} ...: {errors.decode(errors='replace').strip()[-300:]}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss * 1024 / 1e6}


# ---- Memory and page cache -------------------------------------------------------------------------------------------


def memory(pid: int, model: Path | None = None) -> dict[str, float]:
    """Return a process's memory in MB (10**6 bytes).

    uss: private pages (Private_Clean + Private_Dirty); pss: proportional share; rss: resident; anonymous: pages of no
    file; file_uss and file_pss: the part of uss and pss that is clean pages of the file `model` (of the folder's
    files, for a folder), which the kernel can drop at any time; own: uss - file_uss. uss and pss are those of
    /proc/PID/smaps_rollup.
    """
    total = dict.fromkeys(("uss", "pss", "rss", "anonymous", "file_uss", "file_pss"), 0.0)
    inside, wanted = False, None if model is None else os.path.realpath(model)
    within = None if wanted is None or not os.path.isdir(wanted) else os.path.join(wanted, "")
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if not rest.endswith("kB\n") or " " in name:
                if "-" in name.partition(" ")[0]:
                    inside = wanted is not None and line.rstrip("\n").endswith(wanted)
                    inside = inside or (within is not None and within in line)
                continue
            amount = int(rest.split()[0]) * 1024 / 1e6
            if name in ("Private_Clean", "Private_Dirty"):
                total["uss"] += amount
                total["file_uss"] += amount * (inside and name == "Private_Clean")
            elif name == "Pss":
                total["pss"] += amount
                total["file_pss"] += amount * inside
            elif name == "Rss":
                total["rss"] += amount
            elif name == "Anonymous":
                total["anonymous"] += amount
    return {**total, "own": total["uss"] - total["file_uss"]}


def peak_resident(pid: int) -> float:
    """Return the most memory a process ever had resident, in MB."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


class Sampler:
    """Looks at a process's memory every `pause` seconds while the block runs; `peak` holds the most of each figure."""

    def __init__(self, pid: int, model: Path | None = None, pause: float = 0.05) -> None:
        self.pid, self.model, self.pause = pid, model, pause
        self.peak: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while True:
            try:
                for name, value in memory(self.pid, self.model).items():
                    self.peak[name] = max(self.peak.get(name, 0.0), value)
            except (FileNotFoundError, ProcessLookupError):
                return
            if self._stop.wait(self.pause):
                return

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def warm(path: Path) -> None:
    """Read a file once, so that its pages are in the page cache (as far as there is room)."""
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(1 << 24)
        while file.readinto(buffer):
            pass


def cached_share(path: Path) -> float:
    """Return which share of a file's pages is in the page cache."""
    size = path.stat().st_size
    count = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
    library = ctypes.CDLL(None, use_errno=True)
    library.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE) as pages:
        holder = (ctypes.c_char * size).from_buffer(pages)
        found = (ctypes.c_ubyte * count)()
        status = library.mincore(ctypes.addressof(holder), size, found)
        del holder
        if status:
            raise OSError(ctypes.get_errno(), "mincore", str(path))
    return sum(bytes(found).translate(bytes(i & 1 for i in range(256)))) / count


def make_cold(path: Path, everything: bool) -> None:
    """Take a file out of the page cache; `everything`: take all files out (needs root)."""
    os.sync()
    if everything:
        Path("/proc/sys/vm/drop_caches").write_text("1\n", encoding="ascii")
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    left = cached_share(path)
    if left > 0.01:
        note(f"{path.name}: {left:.0%} of it is still in the page cache")


# ---- Figures and rows ------------------------------------------------------------------------------------------------


@dataclass
class Figure:
    """Several measurements of one thing. unit: "s" and "MB" (less is better), "/s" (more is better), "" (a share)."""

    values: list[float]
    unit: str = "s"

    @property
    def median(self) -> float:
        """The figure that is judged."""
        return statistics.median(self.values)

    @property
    def best(self) -> float:
        """The least, or of a rate the greatest."""
        return max(self.values) if self.unit in ("/s", "") else min(self.values)

    def text(self) -> str:
        """Return the median and, of several measurements, the best in brackets."""
        if len(self.values) == 1:
            return amount(self.median, self.unit)
        return f"{amount(self.median, self.unit)} ({amount(self.best, self.unit)})"


def digits(value: float) -> str:
    """Return a number to three digits, never with an exponent where it is above 1."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def amount(value: float, unit: str) -> str:
    """Return a number with its unit, to three digits."""
    if unit == "s":
        for factor, name in ((1, "s"), (1e3, "ms")):
            if value * factor >= 1:
                return f"{digits(value * factor)} {name}"
        return f"{value * 1e6:.3g} µs"
    if unit == "MB":
        return f"{value:,.0f} MB" if value >= 10 else f"{value:.1f} MB"
    if unit == "/s":
        if value >= 1e6:
            return f"{value / 1e6:.2f} M/s"
        return f"{value / 1e3:.0f} k/s" if value >= 1e4 else f"{digits(value)}/s"
    return f"{value:.8f}".rstrip("0").rstrip(".") if 0 < value < 1 else f"{value:g}"


def figure(replies: list[dict[str, Any]], name: str = "wall", unit: str = "s", scale: float = 1.0) -> Figure:
    """Return the figure `name` of several replies."""
    return Figure([reply[name] * scale for reply in replies], unit)


def rate(replies: list[dict[str, Any]], clock: str = "cpu") -> Figure:
    """Return items a second of several replies that hold a count; by CPU seconds unless told."""
    return Figure([reply["count"] / max(reply[clock], 1e-9) for reply in replies], "/s")


def each(replies: list[dict[str, Any]], clock: str = "wall") -> Figure:
    """Return the seconds an item of several replies that hold a count."""
    return Figure([reply[clock] / reply["count"] for reply in replies], "s")


@dataclass
class Row:
    """One line of the table: a measure, the peers' figures, vecio's, and the goal that is judged on medians.

    limit: vecio's figure must be at most this (at least, for a rate or a share); times: by how much vecio must be
    better than which peer; stretch and stretch_times: the same of the stretch goal.
    """

    measure: str
    vecio: Figure | None
    peers: dict[str, Figure] = field(default_factory=dict)
    goal: str = ""
    limit: float | None = None
    times: dict[str, float] = field(default_factory=dict)
    stretch: float | None = None
    stretch_times: dict[str, float] = field(default_factory=dict)

    def ratio(self, peer: str) -> float | None:
        """Return how many times better vecio is than a peer, None where one of them has no figure."""
        if self.vecio is None or peer not in self.peers:
            return None
        theirs, ours = self.peers[peer].median, self.vecio.median
        return ours / theirs if self.vecio.unit in ("/s", "") else theirs / max(ours, 1e-12)

    def reached(self, limit: float | None, times: dict[str, float]) -> bool | None:
        """Return whether a goal is met; None where there is no goal or a figure is missing."""
        if self.vecio is None or (limit is None and not times):
            return None
        checks: list[bool | None] = []
        if limit is not None:
            more = self.vecio.unit in ("/s", "")
            checks.append(self.vecio.median >= limit if more else self.vecio.median <= limit)
        for peer, least in times.items():
            ratio = self.ratio(peer)
            checks.append(None if ratio is None else ratio >= least)
        if False in checks:
            return False
        return None if None in checks else True

    def verdict(self) -> str:
        """Return "yes", "yes, stretch", "no", or "?" where a figure is missing; nothing where there is no goal."""
        met = self.reached(self.limit, self.times)
        if met is None:
            return "?" if self.goal else ""
        if met and self.reached(self.stretch, self.stretch_times):
            return "yes, stretch"
        return "yes" if met else "no"

    def cells(self, judged: bool) -> tuple[str, ...]:
        """Return the cells of the row as text; `judged`: with the verdict."""
        peers = "; ".join(f"{name} {figure.text()}" for name, figure in self.peers.items()) or "–"
        ratios = [
            f"{digits(ratio)}× {name}" for name in self.peers if (ratio := self.ratio(name)) is not None
        ]
        if self.vecio is not None and not self.vecio.unit:
            ratios = []  # of shares says nothing
        ours = self.vecio.text() if self.vecio else "–"
        return (
            self.measure,
            peers,
            ours,
            "; ".join(ratios) or "–",
            self.goal or "–",
            self.verdict() if judged else "",
        )


class Report:
    """The rows and remarks of one topic."""

    def __init__(self, context: Context, topic: str, title: str) -> None:
        self.context, self.topic, self.title = context, topic, title
        self.rows: list[Row] = []
        self.remarks: list[str] = []
        self.versions: dict[str, str] = {}
        self.load_before = os.getloadavg()[0]
        self.began = time.perf_counter()

    def add(self, row: Row) -> None:
        """Take a row and show it."""
        self.rows.append(row)
        note(" | ".join(row.cells(self.context.full_size())))

    def remark(self, text: str) -> None:
        """Take a sentence to stand below the table."""
        self.remarks.append(text)
        note(text)

    def saw(self, started: Iterable[Session]) -> None:
        """Take the versions of the programs under test."""
        for session in started:
            python = session.hello["python"]
            for name, version in session.hello["versions"].items():
                if name == "numpy" and session.subject != "vecio":
                    name = "numpy (peers)"
                self.versions[name] = version
            self.versions["Python" if session.subject == "vecio" else "Python (peers)"] = python

    def save(self) -> Path:
        """Write the topic's figures as JSON; returns the path."""
        self.context.out.mkdir(parents=True, exist_ok=True)
        path = self.context.out / f"{self.topic}.json"
        holds = {
            "topic": self.topic,
            "title": self.title,
            "date": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
            "seconds": round(time.perf_counter() - self.began),
            "load_before": self.load_before,
            "machine": machine(),
            "files": self.context.facts(),
            "full_size": self.context.full_size(),
            "versions": self.versions,
            "rows": [asdict(row) for row in self.rows],
            "remarks": self.remarks,
        }
        path.write_text(json.dumps(holds, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return path


def run_topic(topic: str, title: str, description: str | None, measure: Callable[[Report], None]) -> None:
    """Be the main program of a topic: read the arguments, measure, save, print the table."""
    report = Report(arguments(description or title), topic, title)
    measure(report)
    path = report.save()
    print(table([row.cells(report.context.full_size()) for row in report.rows]))
    note(f"figures in {path}")


def table(lines: Iterable[tuple[str, ...]]) -> str:
    """Return rows of cells as a Markdown table."""
    head = ("measure", "peers here", "vecio", "ratio", "goal; stretch", "met")
    escape = lambda cell: cell.replace("|", "\\|")
    rows = [head, tuple("---" for _ in head), *lines]
    return "\n".join("| " + " | ".join(map(escape, row)) + " |" for row in rows)


# ---- Machine ---------------------------------------------------------------------------------------------------------


def machine() -> dict[str, str]:
    """Return what the machine is."""
    about = {
        "system": f"{platform.system()} {platform.release()}",
        "cores": str(len(os.sched_getaffinity(0))),
    }
    fields = {"model name": "processor", "cpu family": "family", "model": "model", "MemTotal": "memory"}
    for path in ("/proc/cpuinfo", "/proc/meminfo"):
        with open(path, encoding="utf-8") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() in fields:
                    about.setdefault(fields[name.strip()], value.strip())
    if "memory" in about:
        about["memory"] = f"{int(about['memory'].split()[0]) / 2**20:.1f} GiB"
    return about
