"""The demo: the projection, the layout and the picture on their own, and the whole command, quickly."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

import vecio
from trainers import demo, layout, picture, probe, progress, projection, sgns, word_map

FRAME = (0.0, 0.0, 400.0, 300.0)


@pytest.fixture(scope="module")
def towns():
    """Sixty vectors in four tight groups, and the group of each."""
    numbers = np.random.default_rng(1)
    groups = np.repeat(np.arange(4), 15)
    return numbers.normal(size=(4, 20))[groups] + 0.15 * numbers.normal(size=(60, 20)), groups


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """What `vecio demo --quick` leaves: the folder and the report."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, demo.run(folder / "made", quick=True)


# -- projection --------------------------------------------------------------------------------------------------


def test_tsne_keeps_neighbours_and_repeats_itself(towns) -> None:
    vectors, groups = towns
    places = projection.tsne(vectors, perplexity=10.0)
    assert places.shape == (60, 2)
    assert np.isfinite(places).all()
    distances = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    nearest = np.argsort(distances, axis=1)[:, 1:6]
    assert (groups[nearest] == groups[:, None]).all()
    assert (projection.tsne(vectors, perplexity=10.0) == places).all()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_tsne_of_few_or_equal_points(count: int) -> None:
    for vectors in (np.ones((count, 4)), np.zeros((count, 4)), np.eye(8)[:count]):
        places = projection.tsne(vectors)
        assert places.shape == (count, 2)
        assert np.isfinite(places).all()


def test_kmeans_finds_the_groups(towns) -> None:
    vectors, groups = towns
    found = projection.kmeans(vectors, 4)
    assert len(set(zip(found.tolist(), groups.tolist(), strict=True))) == 4
    assert (projection.kmeans(vectors, 4) == found).all()


def test_kmeans_numbers_groups_by_size_and_needs_no_more_points_than_it_has() -> None:
    assert projection.kmeans(np.array([[0.0], [9.0], [9.1], [9.2]]), 2).tolist() == [1, 0, 0, 0]
    assert sorted(projection.kmeans(np.array([[1.0], [5.0]]), 9).tolist()) == [0, 1]
    assert projection.kmeans(np.ones((5, 3)), 2).shape == (5,)


# -- layout ------------------------------------------------------------------------------------------------------


def test_text_width_is_helveticas() -> None:
    assert layout.text_width("Hello", 1000.0) == 722 + 556 + 222 + 222 + 556
    assert layout.text_width("é", 10.0) == 6.0
    assert layout.text_width("", 10.0) == 0.0


def test_placed_boxes_do_not_overlap_and_stay_in_the_frame() -> None:
    numbers = np.random.default_rng(2)
    homes = numbers.normal(150, 20, (80, 2))
    homes[:5] = homes[0]  # on one spot
    sizes = np.stack([numbers.uniform(20, 60, 80), np.full(80, 12.0)], axis=1)
    importance = numbers.uniform(size=80)
    centres, placed = layout.place(homes, sizes, FRAME, importance)
    assert placed.sum() > 60
    assert placed[importance.argmax()]
    corner, other = centres - sizes / 2, centres + sizes / 2
    assert (corner[placed] >= 0).all()
    assert (other[placed] <= FRAME[2:]).all()
    rows = np.nonzero(placed)[0]
    for i in rows:
        for j in rows[rows > i]:
            apart = np.abs(centres[i] - centres[j]) >= (sizes[i] + sizes[j]) / 2 - 1e-9
            assert apart.any()


def test_a_box_that_is_too_large_finds_no_room() -> None:
    _, placed = layout.place(
        np.array([[9.0, 9.0], [50, 50]]), np.array([[900.0, 9.0], [9, 9]]), FRAME, np.ones(2)
    )
    assert placed.tolist() == [False, True]


def test_fit_draws_outliers_in() -> None:
    places = np.concatenate([np.random.default_rng(0).uniform(size=(200, 2)), [[1e6, -1e6]]])
    fitted = layout.fit(places, FRAME)
    assert fitted[-1].tolist() == [400.0, 0.0]
    assert np.median(fitted, axis=0) == pytest.approx([200.0, 150.0], abs=40)
    assert np.isfinite(layout.fit(np.ones((1, 2)), FRAME)).all()


def test_zero_lines_go_round_hills_and_holes() -> None:
    y, x = np.mgrid[0:41, 0:41]
    distance = np.hypot(x - 20.0, y - 20.0)
    (circle,) = layout.zero_lines(10.0 - distance)
    assert np.hypot(*(circle - 20.0).T) == pytest.approx(np.full(len(circle), 10.0), abs=0.1)
    ring = layout.zero_lines(3.0 - np.abs(distance - 10.0))
    assert sorted(round(float(np.hypot(*(line - 20.0).T).mean())) for line in ring) == [7, 13]
    assert layout.zero_lines(-np.ones((5, 5))) == []
    (whole,) = layout.zero_lines(np.ones((3, 4)))  # closed outside the grid
    assert whole.min() < 0
    saddle = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert sum(len(line) for line in layout.zero_lines(saddle)) == 8
    assert sum(len(line) for line in layout.zero_lines(-saddle)) == 8


def test_territories_are_apart_and_hold_their_points() -> None:
    points = np.array([[100.0, 100.0], [120, 100], [300, 200]])
    first, second = layout.territories(points, np.array([0, 0, 1]), FRAME, reach=25.0, step=5.0)
    assert len(first) == len(second) == 1
    assert first[0][:, 0].max() < second[0][:, 0].min()
    assert first[0].min(axis=0)[0] < 100 < 120 < first[0].max(axis=0)[0]


# -- the picture -------------------------------------------------------------------------------------------------


def words_of_a_map() -> list[picture.Word]:
    known = [
        picture.Word(f"word<{i}>&co", (float(i % 7), float(i // 7)), weight=float(1 + i), group=i % 3)
        for i in range(40)
    ]
    return [*known, picture.Word("unknown<", (3.1, 2.1), group=1, links=(3, 4, 5))]


def test_the_picture_is_a_drawing_that_any_reader_parses() -> None:
    svg = picture.draw(words_of_a_map(), ["a < b", "c", "d"], "Title & more", "{shown} words")
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for expected in ("word<7>&co", "unknown<", "Title & more", "40 words", "a < b"):
        assert expected in texts
    circles = list(root.iter("{http://www.w3.org/2000/svg}circle"))
    assert len(circles) == 3 + 3  # the ends of the lines, and the legend
    assert picture.draw(words_of_a_map(), ["a < b", "c", "d"], "Title & more", "{shown} words") == svg
    assert "nan" not in svg


def test_a_map_needs_known_words_and_few_groups() -> None:
    with pytest.raises(ValueError, match="known words"):
        picture.draw([picture.Word("unknown", (0, 0), links=())], ["a"], "", "")
    with pytest.raises(ValueError, match="1 to 10 groups"):
        picture.draw([picture.Word("word", (0, 0), group=10)], ["a"], "", "")


def test_stem_joins_the_forms_of_a_word() -> None:
    for forms in (
        ("file", "files"),
        ("compile", "compiled", "compiling", "compiler"),
        ("run", "running", "runs"),
    ):
        assert len({word_map.stem(form) for form in forms}) == 1, forms
    assert word_map.stem("class") != word_map.stem("clear")


def test_a_map_is_chosen_from_content_words(towns) -> None:
    vectors, groups = towns
    letters = "abcdefghijklmno"
    words = [f"{'bcdf'[g]}{letters[i % 15]}zzq" for i, g in enumerate(groups)]
    words[7] = "because"
    embeddings = vecio.Embeddings.from_arrays(words, vectors.astype(np.float32), counts=range(60, 0, -1))
    chosen = word_map.choose(embeddings, 30)
    assert len(chosen) == 30
    assert 7 not in chosen
    svg = word_map.make(embeddings, [], "Title", "{shown}", count=30)
    assert "because" not in svg
    names = word_map.group_names(words, projection.unit_rows(vectors), groups, np.arange(60, 0, -1))
    assert [name[0] for name in names] == list("bcdf")


def test_a_map_of_very_few_words() -> None:
    embeddings = vecio.Embeddings.from_arrays(["a", "b"], np.eye(2, 4, dtype=np.float32))
    assert ">a</text>" in word_map.make(embeddings, [], "Title", "", count=10)


# -- progress ----------------------------------------------------------------------------------------------------


class Stream:
    """A stream that says whether it is a terminal and keeps what it was given."""

    def __init__(self, terminal: bool) -> None:
        self.terminal, self.text = terminal, ""

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_the_progress_line_says_what_a_waiting_person_wants() -> None:
    state = sgns.Progress(done=3_000_000, total=4_000_000, loss=2.1234, rate=0.01, seconds=6.0)
    text = "[##################------]  75%  500 k words/s  loss 2.123  2 s left"
    assert progress.describe(state) == text
    terminal, log = Stream(True), Stream(False)
    with progress.ProgressLine(stream=terminal) as line:
        line.note("a longer line than the one that follows it, by far, I should think")
        line(state)
        line(state)  # too early
    assert terminal.text.count("75%") == 1
    assert terminal.text.endswith("\r" + " " * 80 + "\r") or terminal.text.rstrip(" ").endswith("\r")
    with progress.ProgressLine(stream=log) as line:
        line.note("reading")
        line(state)
    assert log.text == "reading\n"


# -- the command -------------------------------------------------------------------------------------------------


def test_the_demo_leaves_three_files_that_open(finished) -> None:
    folder, report = finished
    made = folder / "made"
    assert sorted(path.name for path in made.iterdir()) == [
        "map.svg",
        "words-float16.safetensors",
        "words.safetensors",
    ]
    assert {name: Path(path).stat().st_size for name, path in report.files.items()} == report.bytes
    with (
        vecio.open(made / "words-float16.safetensors") as half,
        vecio.open(made / "words.safetensors") as full,
    ):
        assert (half.dtype, full.dtype) == ("float16", "float32")
        assert list(half.words[:3]) == list(full.words[:3])
        assert "Python" in full.metadata["text"]
        assert half["dictionnary"] == pytest.approx(full["dictionnary"], abs=1e-3)
    ElementTree.parse(made / "map.svg")


def test_the_report_holds_unknown_words_and_their_neighbours(finished) -> None:
    _, report = finished
    assert len(report.neighbours) >= 5
    with vecio.open(report.files["float32"]) as embeddings:
        for word, near in report.neighbours.items():
            assert word not in embeddings
            assert len(near) == 5
            assert all(other in embeddings for other, _ in near)
            assert near == sorted(near, key=lambda pair: -pair[1])
    assert report.training["last_loss"] < report.training["first_loss"]
    assert report.text["tokens"] > 10_000
    assert report.opening["open_s"] > 0
    assert report.seconds > 0


def test_equal_seeds_give_equal_files(finished, tmp_path) -> None:
    folder, _ = finished
    demo.run(tmp_path / "again", quick=True)
    for name in ("words.safetensors", "words-float16.safetensors", "map.svg"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / "made" / name).read_bytes(), name


def test_the_report_reads_well(finished) -> None:
    _, report = finished
    text = demo.describe(report)
    for expected in ("Text ", "Training ", "float16", "map.svg", "A new process opens", "dictionnary"):
        assert expected in text
    assert max(map(len, text.splitlines())) < 200
    report = demo.Report(**{**vars(report), "opening": {}, "neighbours": {}})
    assert "holds all the words" in demo.describe(report)
    assert "new process" not in demo.describe(report)


def test_times_are_short() -> None:
    assert [demo._time(s) for s in (1.5, 0.0123, 4.2e-5)] == ["1.5e+03 ms", "12.3 ms", "42 µs"]


def test_the_command_prints_text_or_json(tmp_path, capsys, monkeypatch) -> None:
    asked = []

    def run(out, **options):
        asked.append((out, options))
        return demo.Report(neighbours={"größer": [("größe", 0.9)]})

    monkeypatch.setattr(demo, "run", run)
    demo.command(tmp_path, quick=True, seed=3, threads=2, json=True)
    assert json.loads(capsys.readouterr().out)["neighbours"] == {"größer": [["größe", 0.9]]}
    assert asked == [(tmp_path, {"quick": True, "seed": 3, "threads": 2})]


def test_the_demo_is_a_command_of_vecio(tmp_path, capsys, monkeypatch) -> None:
    from vecio import _cli_run, cli

    pyproject = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    assert 'demo = "trainers.demo:command"' in pyproject
    entry = EntryPoint("demo", "trainers.demo:command", _cli_run.ENTRY_POINTS)
    monkeypatch.setattr(_cli_run, "_entry_points", lambda: {"demo": entry})  # as if it were installed
    assert cli.main(["demo", "--help"]) == 0
    text = capsys.readouterr().out
    for expected in ("no file, no network", "--out", "--quick", "--seed", "--threads", "--json"):
        assert expected in text
    (tmp_path / "file").write_text("in the way")
    assert cli.main(["demo", "--quick", "--out", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith(f"vecio: {tmp_path / 'file'}: ")
    assert cli.main(["demo", "--threads", "0"]) == 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_an_error_at_once(tmp_path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        demo.run(tmp_path, quick=True)


def test_the_probe_measures_a_file(finished, capsys) -> None:
    _, report = finished
    figures = probe.measure(report.files["float16"], "the", "dictionnary")
    assert {"import_s", "open_s", "first_known_s", "known_s", "first_unknown_s", "unknown_s"} <= set(figures)
    assert all(value >= 0 for value in figures.values())
    assert demo._probe("/nowhere/at/all", "the", "dictionnary") == {}
