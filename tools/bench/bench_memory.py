"""Memory: what a process holds after opening the model and 1,000 look-ups, alone and as one of four workers.

The look-ups are 500 known and 500 unknown words, one by one. Private memory here is USS (private pages of
/proc/PID/smaps) less the clean pages of the model file: those are page cache, which the kernel takes
back when it likes and which a second process shares; a process that is alone counts them as private all the same, and
that figure stands in the row below. Peers hold their matrices as private memory of their own. "With kernels" is the
state after a batch that loads numba.
"""

from __future__ import annotations

from pathlib import Path

from common import Figure, PeerError, Report, Row, Session, memory, note, peak_resident, run_topic, warm

LOOK_UPS = 500  # known and unknown each
WORKERS = 4


def look_up(report: Report, session: Session, part: int = 0) -> None:
    """Do the look-ups, every worker its own words."""
    for name in ("known.txt", "unknown.txt"):
        path = str(report.context.file(name))
        session.call("single", path=path, start=part * LOOK_UPS, count=LOOK_UPS)


def one_process(report: Report, subject: str, path: Path, kernels: bool = False) -> dict[str, float] | None:
    """Open, look up, and return the memory of the process; None where the program cannot do it."""
    if subject in report.context.skip:
        return None
    note(f"{subject}: {path.name}{' with kernels' if kernels else ''}")
    try:
        with Session(report.context, subject) as session:
            report.saw([session])
            session.call("load", path=str(path))
            if kernels:
                session.call("kernels", path=str(report.context.file("unknown.txt")), count=50_000)
            look_up(report, session)
            used = memory(session.pid, path)
            return {**used, "peak": peak_resident(session.pid)}
    except PeerError as error:
        note(f"left out: {error}")
        return None


def figures(used: dict[str, dict[str, float]], name: str) -> dict[str, Figure]:
    """Return one figure of several programs."""
    return {subject: Figure([each[name]], "MB") for subject, each in used.items()}


def several_workers(report: Report, path: Path) -> dict[str, float]:
    """Open the file in WORKERS processes, look up other words in each; return the sums over the processes."""
    started = [Session(report.context, "vecio") for _ in range(WORKERS)]
    try:
        for session in started:
            session.call("load", path=str(path))
        for part, session in enumerate(started):
            look_up(report, session, part)
        used = [memory(session.pid, path) for session in started]
    finally:
        for session in started:
            session.close()
    return {name: sum(each[name] for each in used) for name in used[0]}


def measure(report: Report) -> None:
    """Measure all of memory."""
    context = report.context
    raw, native = context.file("big55.bin"), context.native("55", "float16")
    warm(raw)
    peers = {
        subject: used
        for subject in ("fasttext", "finalfusion", "gensim")
        if (used := one_process(report, subject, raw)) is not None
    }
    warm(raw)
    warm(native)
    ours = {
        "native": one_process(report, "vecio", native),
        "native, kernels": one_process(report, "vecio", native, kernels=True),
        "bin": one_process(report, "vecio", raw),
        "bin, kernels": one_process(report, "vecio", raw, kernels=True),
    }
    private = figures(peers, "uss")
    goals: dict[str, tuple[str, str, float, dict[str, float], dict[str, float]]] = {
        "native": (
            "native float16, without kernels",
            "≤ 60 MB and ≥ 100× fasttext; 200×",
            60,
            {"fasttext": 100},
            {"fasttext": 200},
        ),
        "native, kernels": ("native float16, with kernels", "≤ 160 MB", 160, {}, {}),
        "bin": ("`.bin`, without kernels", "≤ 220 MB", 220, {}, {}),
        "bin, kernels": ("`.bin`, with kernels", "≤ 220 MB", 220, {}, {}),
    }
    for name, (label, goal, limit, times, stretch) in goals.items():
        used = ours[name]
        own = None if used is None else Figure([used["own"]], "MB")
        report.add(
            Row(
                f"private memory after 1,000 look-ups, {label}",
                own,
                private,
                goal,
                limit,
                times,
                None,
                stretch,
            )
        )
    for name in ("native", "bin"):
        used = ours[name]
        alone = None if used is None else Figure([used["uss"]], "MB")
        report.add(
            Row(f"the same, {name}: USS of a lone process, the file's clean pages too", alone, private)
        )
    used = ours["native"]
    peak = None if used is None else Figure([used["peak"]], "MB")
    report.add(Row("peak resident memory up to then, native", peak, figures(peers, "peak")))
    four_workers(report, native, raw, private)


def four_workers(report: Report, native: Path, raw: Path, private: dict[str, Figure]) -> None:
    """Measure WORKERS processes on one file."""
    times = {name: Figure([WORKERS * each.median], "MB") for name, each in private.items()}
    named = {f"{WORKERS} × one {name}": each for name, each in times.items()}
    for path, label, one, least in ((native, "native float16", 60, 100.0), (raw, "`.bin`", 220, 0.0)):
        sums = several_workers(report, path)
        own, pages = sums["pss"] - sums["file_pss"], sums["file_pss"]
        key = f"{WORKERS} × one fasttext"
        report.add(
            Row(
                f"{WORKERS} workers, {label}: sum of PSS less the file's pages",
                Figure([own], "MB"),
                named,
                f"≤ {WORKERS} × {one} MB" + (" and ≥ 100× fasttext" if least else ""),
                WORKERS * one,
                {key: least} if least else {},
            )
        )
        report.remark(
            f"{WORKERS} workers, {label}: sum of PSS {sums['pss']:,.0f} MB, of it {pages:,.0f} MB pages of the file, "
            f"counted once; sum of RSS {sums['rss']:,.0f} MB."
        )


if __name__ == "__main__":
    run_topic("memory", "Memory", __doc__, measure)
