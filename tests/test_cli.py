"""The command: exact output, exit codes, one-line errors, words that are not UTF-8, streams, plug-ins, start-up.

Most tests run `main(argv)` in this process; those on signals, pipes and imports start the command as its users do.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st

import vecio
from vecio import _cli_io, _progress, cli
from vecio._cli_text import rows_as_text

DATA = Path(__file__).parent / "data"
WORDS = DATA / "fasttext" / "sg-ns.bin"
NO_SUBWORDS = DATA / "fasttext" / "cbow-hs-nosub.bin"
LABELS = DATA / "fasttext" / "sup-softmax.bin"
PRUNED = DATA / "fasttext" / "q-cutoff.ftz"
COMMANDS = ("info", "get", "nn", "analogy", "predict", "test", "explain", "convert", "formats", "verify")
START = [sys.executable, "-c", "import sys; from vecio.cli import main; sys.exit(main())"]


@dataclass(frozen=True)
class Result:
    """What a command left: exit code, standard output as bytes, standard error as text."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[bytes]:
        return self.out.removesuffix(b"\n").split(b"\n")

    @property
    def objects(self) -> list[Any]:
        return [json.loads(line, parse_constant=pytest.fail) for line in self.lines]


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Run a command line in this process, with bytes on standard input."""

    def call(*argv: object, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = cli.main([str(argument) for argument in argv])
        out, err = capsysbinary.readouterr()
        return Result(code, out, err.decode())

    return call


def start(*argv: object, **settings: Any) -> subprocess.Popen[bytes]:
    """Start the command as a process of its own, all streams piped."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONPATH": str(Path(vecio.__file__).parent.parent)}
    return subprocess.Popen([*START, *map(str, argv)], **{"env": environment, **pipes, **settings})


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def assert_error(result: Result, code: int, *parts: str) -> None:
    """One line on standard error that begins with the program's name, nothing on standard output."""
    assert (result.code, result.out) == (code, b"")
    assert result.err.startswith("vecio") and result.err.endswith("\n") and result.err.count("\n") == 1
    assert "Traceback" not in result.err
    for part in parts:
        assert part in result.err


# -- help ------------------------------------------------------------------------------------------------------


def test_every_command_and_every_parameter_has_help() -> None:
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    assert set(commands) == set(COMMANDS)
    for name, command in commands.items():
        assert command.help, name
        for parameter in command.params:
            assert parameter.help, (name, parameter.name)


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(run: Run, argv: list[str]) -> None:
    result = run(*argv)
    assert result.code == 0 and result.err == ""
    listed = [line.split() for line in result.out.decode().split("Commands:")[1].splitlines()]
    assert set(COMMANDS) <= {words[0] for words in listed if words}
    assert all(
        not line.endswith(b"...")  # cut short
        for line in result.lines
        if line.split()[:1] in [[name.encode()] for name in COMMANDS]
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command(run: Run, name: str) -> None:
    result = run(name, "--help")
    assert result.code == 0 and result.out.startswith(b"Usage: vecio " + name.encode())


def test_version(run: Run) -> None:
    assert run("--version").out == f"vecio {vecio.__version__}\n".encode()


def test_help_and_small_look_ups_wait_for_nothing_heavy(tmp_path: Path) -> None:
    """`--help` needs neither compiler nor rich nor pydantic; a look-up no compiler."""
    code = (
        "import sys; from vecio.cli import main; main(sys.argv[2:]);"
        "print([name for name in sys.argv[1].split() if name in sys.modules])"
    )
    heavy = "numba llvmlite rich safetensors mmap_ninja torch trainers concurrent.futures"
    environment = {**os.environ, "PYTHONPATH": str(Path(vecio.__file__).parent.parent)}
    for names, argv in ((heavy + " pydantic", ["--help"]), (heavy, ["get", WORDS, "house"])):
        command = [sys.executable, "-c", code, names, *map(str, argv)]
        out = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
        assert out.splitlines()[-1] == b"[]"


# -- get -------------------------------------------------------------------------------------------------------


def test_get_prints_words_and_vectors(run: Run) -> None:
    with vecio.open(WORDS) as e:
        expected = e.embed(["die", "hausing"])
    result = run("get", WORDS, "die", "hausing")
    assert result.code == 0 and result.err == ""
    for line, word, vector in zip(result.lines, (b"die", b"hausing"), expected, strict=True):
        first, *numbers = line.split(b" ")
        assert first == word
        assert [np.float32(n) for n in numbers] == vector.tolist()
        assert numbers == [np.format_float_positional(v, unique=True, trim="-").encode() for v in vector]


def test_get_precision_and_json(run: Run) -> None:
    with vecio.open(WORDS) as e:
        vector = e["die"].tolist()
    assert run("get", WORDS, "die", "--precision", "3").out.split() == [
        b"die",
        *(b"%.3g" % v for v in vector),
    ]
    result = run("get", WORDS, "die", "--json")
    assert result.objects == [{"word": "die", "vector": pytest.approx(vector, rel=1e-7)}]
    assert result.out == run("get", WORDS, "die", "--format", "jsonl").out


def test_get_keeps_words_that_are_not_utf8(run: Run) -> None:
    """Bytes of any kind come out as they went in, from the command line and from standard input."""
    with vecio.open(WORDS) as e:
        broken = next(word for word in e.words if any("\udc80" <= c <= "\udcff" for c in word))
        vector = rows_as_text(e.embed([broken]))[0]
    expected = raw(broken) + b" " + vector + b"\n"
    assert run("get", WORDS, broken).out == expected
    assert run("get", WORDS, "-", stdin=raw(broken) + b"\n").out == expected
    assert run("get", WORDS, broken, "--json").objects[0]["word"] == broken
    with start("get", WORDS, raw(broken).decode("utf-8", "surrogateescape")) as process:
        assert process.communicate()[0] == expected


def test_get_reads_lines_of_any_ending(run: Run) -> None:
    plain = run("get", WORDS, "die", "das", "der").out
    for text in (b"die\ndas\nder\n", b"die\ndas\nder", b"die\r\ndas\r\nder\r\n"):
        assert run("get", WORDS, "-", stdin=text).out == plain
    assert run("get", WORDS, "-", stdin=b"").out == b""


def test_get_streams_many_words(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 words in blocks, cut anywhere, give what one call of the library gives."""
    words = [f"word{number % 7919}x{number}".encode() for number in range(100_000)]
    monkeypatch.setattr(_cli_io, "READ_BYTES", 65_521)
    result = run("get", WORDS, "-", "--precision", "9", stdin=b"\n".join(words))
    table = [line.split(b" ") for line in result.lines]
    assert [row[0] for row in table] == words
    with vecio.open(WORDS) as e:
        assert np.array_equal(np.array([row[1:] for row in table], "S16").astype(np.float32), e.embed(words))


def test_get_answers_before_the_input_ends() -> None:
    with start("get", WORDS, "-") as process:
        assert process.stdin is not None and process.stdout is not None
        for word in (b"die", b"das"):
            process.stdin.write(word + b"\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(word + b" ")
        process.stdin.close()
    assert process.returncode == 0


def test_get_writes_numpy_arrays(run: Run, tmp_path: Path) -> None:
    """To a file and to a pipe, from arguments and from standard input: the same bytes, which numpy maps."""
    words = [f"w{number}" for number in range(40_000)]
    text = "\n".join(words).encode()
    target = tmp_path / "vectors.npy"
    assert run("get", WORDS, "-", "-o", target, stdin=text).out == b""
    with vecio.open(WORDS) as e:
        assert np.array_equal(np.load(target, mmap_mode="r"), e.embed(words))
    assert run("get", WORDS, "-", "--format", "npy", stdin=text).out == target.read_bytes()
    small = np.load(io.BytesIO(run("get", WORDS, "w1", "w0", "--format", "npy").out))
    assert np.array_equal(small, np.load(target)[[1, 0]])
    empty = np.load(io.BytesIO(run("get", WORDS, "-", "--format", "npy").out))
    assert empty.shape == (0, 8) and empty.dtype == np.float32
    assert_error(run("get", NO_SUBWORDS, "-", "--format", "npy", stdin=b"a\nnosuch\n"), 1, "word 2")


def test_get_output_names_the_format(run: Run, tmp_path: Path) -> None:
    for name, form in (("a.txt", "text"), ("a", "text"), ("a.JSONL", "jsonl"), ("a.npy", "npy")):
        assert run("get", WORDS, "die", "--output", tmp_path / name).code == 0
        assert (tmp_path / name).read_bytes() == run("get", WORDS, "die", "--format", form).out
    assert run("get", WORDS, "die", "-o", tmp_path / "b.npy", "--format", "text").code == 0
    assert (tmp_path / "b.npy").read_bytes().startswith(b"die ")


def test_get_writes_a_file_whole_or_not_at_all(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("before")
    assert_error(run("get", NO_SUBWORDS, "a", "nosuchword", "-o", target), 1, "nosuchword")
    assert target.read_text() == "before" and os.listdir(tmp_path) == ["out.txt"]


def test_get_words_without_a_vector(run: Run) -> None:
    known = run("get", NO_SUBWORDS, "a").out
    stdin = b"a\nnosuch\xff\n\na\n"

    stopped = run("get", NO_SUBWORDS, "-", stdin=stdin)
    assert (stopped.code, stopped.out) == (1, known)
    assert (
        stopped.err.startswith("vecio: word 2: 'nosuch\\udcff': not in the vocabulary")
        and stopped.err.count("\n") == 1
    )

    zero = run("get", NO_SUBWORDS, "-", "--missing", "zero", stdin=stdin)
    assert zero.lines[1] == b"nosuch\xff" + b" 0" * 16 and zero.lines[2] == b" 0" * 0 + b"" + b" 0" * 16
    nan = run("get", NO_SUBWORDS, "-", "--missing", "nan", stdin=stdin)
    assert nan.lines[1] == b"nosuch\xff" + b" nan" * 16 and nan.lines[3] + b"\n" == known
    null = run("get", NO_SUBWORDS, "-", "--missing", "nan", "--json", stdin=stdin).objects
    assert null[1] == {"word": "nosuch\udcff", "vector": [None] * 16}

    skip = run("get", NO_SUBWORDS, "-", "--missing", "skip", stdin=stdin)
    assert (skip.code, skip.out) == (0, known * 2)
    assert skip.err == "vecio: warning: 2 of 4 words cannot be embedded and were left out\n"


def test_get_names_the_line_far_down_the_stream(run: Run) -> None:
    result = run("get", NO_SUBWORDS, "-", stdin=b"a\n" * 40_000 + b"nosuch\n" + b"a\n" * 1000)
    assert result.code == 1 and len(result.lines) == 40_000 and "word 40001: 'nosuch'" in result.err


def test_an_endless_line_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cli_io, "LINE_BYTES", 1000)
    monkeypatch.setattr(_cli_io, "READ_BYTES", 100)
    assert_error(run("get", WORDS, "-", stdin=b"x" * 5000), 1, "longer than 1000 bytes")


# -- numbers as text -------------------------------------------------------------------------------------------


@given(st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=40))
def test_shortest_text_reads_back_the_same(numbers: list[float]) -> None:
    row = np.array([numbers], np.float32)
    parts = rows_as_text(row)[0].split(b" ")
    assert np.array_equal(np.array([np.float32(part) for part in parts]), row[0], equal_nan=True)
    for part, value in zip(parts, row[0], strict=True):
        if 1e-6 <= abs(float(value)) < 100 or value == 0:
            assert part.decode() == np.format_float_positional(value, unique=True, trim="-")


@pytest.mark.parametrize("precision", range(1, 10))
def test_rounded_text_is_that_of_printf(precision: int) -> None:
    rng = np.random.default_rng(precision)
    rows = (rng.choice([-1, 1], (500, 7)) * 10 ** rng.uniform(-8, 4, (500, 7))).astype(np.float32)
    rows[:3] = [
        [0, 1, 10, 99.99999, 100, 0.1, 1e-6],
        [0.5, 0.25, 2.5, 9.5, 95, 99.5, 1e-4],
        [-0.0, 3, 7, 50, 5, 1, 2],
    ]
    for line, row in zip(rows_as_text(rows, precision), rows.tolist(), strict=True):
        assert [float(part) for part in line.split(b" ")] == [
            float(f"{value:.{precision}g}") for value in row
        ]


def test_text_of_rows_without_numbers_and_of_views() -> None:
    assert rows_as_text(np.zeros((2, 0), np.float32)) == [b"", b""]
    assert rows_as_text(np.zeros((0, 3), np.float32)) == []
    wide = np.arange(12, dtype=np.float32).reshape(3, 4) / 4
    assert rows_as_text(wide[::2, 1::2]) == [b"0.25 0.75", b"2.25 2.75"]


# -- neighbours and analogies ----------------------------------------------------------------------------------


def test_nn_prints_neighbours(run: Run) -> None:
    with vecio.open(WORDS) as e:
        expected = e.most_similar(["die"], topn=4)
        unknown = e.most_similar(["hausing"], topn=2)
    lines = [b"%b\t%.6f" % (raw(word), score) for word, score in expected]
    result = run("nn", WORDS, "die", "-k", "4")
    assert result.code == 0 and result.lines == lines
    both = run("nn", WORDS, "die", "hausing", "-k", "2").lines
    assert both[:2] == [b"die\t" + line for line in lines[:2]]
    assert both[2:] == [b"hausing\t%b\t%.6f" % (raw(word), score) for word, score in unknown]
    shown = run("nn", WORDS, "die", "-k", "4", "--json").objects
    assert shown == [
        {"word": "die", "neighbours": [{"word": w, "score": pytest.approx(s)} for w, s in expected]}
    ]


def test_nn_of_a_stream_is_nn_of_each_word(run: Run) -> None:
    with vecio.open(WORDS) as e:
        words = [word for word in e.words if word.strip() and "\n" not in word and "\r" not in word][:60] + [
            "hausing"
        ]
        expected = [[word for word, _ in e.most_similar([query], topn=3)] for query in words]
    found = run("nn", WORDS, "-", "-k", "3", "--json", stdin=raw("\n".join(words))).objects
    assert [answer["word"] for answer in found] == words
    assert [[n["word"] for n in answer["neighbours"]] for answer in found] == expected


def test_nn_of_a_word_without_a_vector(run: Run) -> None:
    assert_error(run("nn", NO_SUBWORDS, "nosuchword"), 1, "nosuchword", "not in the vocabulary")
    known = run("nn", NO_SUBWORDS, "-", stdin=b"a\n").out
    stopped = run("nn", NO_SUBWORDS, "-", stdin=b"a\nnosuchword\na\n")
    assert (stopped.code, stopped.out) == (1, known) and "word 2: 'nosuchword'" in stopped.err
    skipped = run("nn", NO_SUBWORDS, "-", "--missing", "skip", stdin=b"a\nnosuchword\na\n")
    assert (skipped.code, skipped.out) == (0, known * 2) and "1 of 3 words" in skipped.err


def test_analogy_is_b_minus_a_plus_c(run: Run) -> None:
    with vecio.open(WORDS) as e:
        expected = e.most_similar(positive=["das", "der"], negative=["die"], topn=3)
    result = run("analogy", WORDS, "die", "das", "der", "-k", "3")
    assert result.lines == [b"%b\t%.6f" % (raw(word), score) for word, score in expected]
    (shown,) = run("analogy", WORDS, "die", "das", "der", "-k", "3", "--json").objects
    assert (shown["a"], shown["b"], shown["c"]) == ("die", "das", "der")
    assert [n["word"] for n in shown["neighbours"]] == [word for word, _ in expected]


# -- labels ----------------------------------------------------------------------------------------------------


def test_predict_prints_labels_and_probabilities(run: Run) -> None:
    texts = ["the fox is a animal", "soup and bread", "qqq zzz"]
    with vecio.open(LABELS) as e:
        expected = e.predict(texts, 2)
    lines = [
        b" ".join(b"%b %.6g" % (raw(name), p) for name, p in zip(*answer, strict=True)) for answer in expected
    ]
    assert run("predict", LABELS, *texts, "-k", "2").lines == lines
    assert run("predict", LABELS, "-", "-k", "2", stdin="\n".join(texts).encode()).lines == lines
    shown = run("predict", LABELS, *texts, "-k", "2", "--json").objects
    assert [answer["labels"] for answer in shown] == [names for names, _ in expected]
    assert [answer["probabilities"] for answer in shown] == [values.tolist() for _, values in expected]
    assert run("predict", LABELS, texts[0], "--threshold", "2").out == b"\n"
    assert len(run("predict", LABELS, texts[0], "-k", "-1", "--json").objects[0]["labels"]) == 6


def test_test_prints_precision_and_recall(run: Run) -> None:
    file = DATA / "text" / "sup_test.txt"
    with vecio.open(LABELS) as e:
        result = e.test([file.read_bytes()], k=2)
    expected = f"N\t{result.examples}\nP@2\t{result.precision:.3g}\nR@2\t{result.recall:.3g}\n".encode()
    assert run("test", LABELS, file, "-k", "2").out == expected
    assert run("test", LABELS, "-", "-k", "2", stdin=file.read_bytes()).out == expected
    (shown,) = run("test", LABELS, file, "-k", "2", "--json").objects
    assert (shown["examples"], shown["precision"], shown["recall"]) == result[:3]
    each = run("test", LABELS, file, "-k", "2", "--labels").out
    assert each.endswith(expected) and each.count(b"\n") == 3 + len(result.labels) == 3 + len(shown["labels"])


def test_only_supervised_models_have_labels(run: Run) -> None:
    assert_error(run("predict", WORDS, "text"), 1, "not a supervised model")
    assert_error(run("test", WORDS, DATA / "text" / "sup_test.txt"), 1, "not a supervised model")


# -- what a file is --------------------------------------------------------------------------------------------


def test_info(run: Run) -> None:
    (facts,) = run("info", WORDS, "--json").objects
    with vecio.open(WORDS) as e:
        assert facts["words"] == len(e) and facts["dim"] == e.dim and facts["dtype"] == "float32"
        assert facts["first_words"] == e.words[:5] and facts["last_words"] == e.words[len(e) - 5 :]
    assert (
        facts["path"] == str(WORDS)
        and facts["bytes"] == WORDS.stat().st_size
        and facts["format"] == "fasttext"
    )
    assert facts["subwords"] == {"kind": "fasttext", "minn": 2, "maxn": 4, "rows": 101}
    assert facts["can"] == {"embed_unknown_words": True, "find_neighbours": True, "predict_labels": False}
    assert 0 <= facts["open_seconds"] < 60
    text = run("info", WORDS).out.decode("utf-8", "surrogateescape")
    assert text.startswith(
        f"file           {WORDS} (20.7 kB)\nformat         fasttext\nwords          {facts['words']}: </s> "
    )
    assert "sub-words      fasttext, 2 to 4 characters, 101 rows\n" in text
    assert "unknown words  yes, from their sub-words\n" in text and "\nopened in      " in text


def test_info_of_a_classifier(run: Run) -> None:
    (facts,) = run("info", LABELS, "--json").objects
    assert facts["labels"] == 6 and facts["subwords"] is None
    assert facts["can"] == {"embed_unknown_words": False, "find_neighbours": True, "predict_labels": True}
    assert b"\npredictions    yes, 6 labels\n" in run("info", LABELS).out


def test_explain(run: Run) -> None:
    with vecio.open(WORDS) as e:
        known, unknown = e.explain("die"), e.explain("hausing")
    lines = run("explain", WORDS, "die", "hausing").out.decode().splitlines()
    assert lines[0] == "die: in the vocabulary, coverage 1.00" and lines[1].split() == [
        "part",
        "row",
        "trained",
    ]
    rows = [line.split() for line in lines[2 : 2 + len(known.pieces)]]
    assert rows == [[p.text, str(p.row), "yes" if p.trained else "no"] for p in known.pieces]
    assert lines[2 + len(known.pieces)] == f"hausing: not in the vocabulary, coverage {unknown.coverage:.2f}"
    assert run("explain", WORDS, "die", "hausing", "--json").objects == [known.to_dict(), unknown.to_dict()]
    assert run("explain", WORDS, "-", "--json", stdin=b"hausing").objects == [unknown.to_dict()]
    assert run("explain", NO_SUBWORDS, "nosuch").out.startswith(b"nosuch: not in the vocabulary, and nothing")


def test_explain_shows_dropped_ngrams(run: Run) -> None:
    (found,) = run("explain", PRUNED, "hausing", "--json").objects
    table = run("explain", PRUNED, "hausing").out.decode().splitlines()[2:]
    assert [line.split()[1] == "-" for line in table] == [piece["row"] < 0 for piece in found["pieces"]]


# -- convert and verify ----------------------------------------------------------------------------------------


def test_convert_writes_a_file_and_a_report(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "words.safetensors"
    result = run("convert", WORDS, target, "--dtype", "float16")
    assert result.code == 0 and result.out.strip() and result.err == ""
    with vecio.open(WORDS) as before, vecio.open(target) as after:
        assert list(after.words) == list(before.words) and after.dtype == "float16"
        assert np.allclose(
            after.embed(["die", "hausing"]), before.embed(["die", "hausing"]), rtol=2e-3, atol=1e-3
        )
    assert run("get", target, "die").code == 0
    (report,) = run("convert", WORDS, target, "--force", "--json").objects
    assert isinstance(report, dict)


def test_convert_does_not_replace_files_unasked(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "words.safetensors"
    target.write_text("precious")
    assert_error(run("convert", WORDS, target), 1, str(target), "--force")
    assert target.read_text() == "precious"
    assert run("convert", WORDS, target, "--force").code == 0
    assert len(vecio.open(target)) == len(vecio.open(WORDS))


def test_convert_refuses_what_cannot_be_written(run: Run, tmp_path: Path) -> None:
    assert_error(run("convert", WORDS, tmp_path / "words.xyz"), 1, ".xyz")
    assert_error(run("convert", WORDS, tmp_path / "words.x", "--format", "nosuch"), 2, "nosuch", "there are")
    assert_error(run("convert", WORDS, tmp_path / "words.safetensors", "--dtype", "float8"), 2, "float8")
    assert_error(run("convert", tmp_path / "nosuch.bin", tmp_path / "a.safetensors"), 1, "nosuch.bin")
    assert os.listdir(tmp_path) == []


def test_verify(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "words.safetensors"
    assert run("convert", WORDS, target).code == 0
    assert run("verify", target).code == 0
    (report,) = run("verify", target, "--json").objects
    assert isinstance(report, dict)
    content = bytearray(target.read_bytes())
    content[-5] ^= 1
    target.write_bytes(content)
    broken = run("verify", target)
    assert broken.code == 1 and any(line.startswith(b"error: ") for line in broken.lines) and broken.err == ""
    assert run("verify", target, "--json").code == 1


# -- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["info", "get", "nn", "predict", "explain"])
def test_files_that_cannot_be_opened(run: Run, tmp_path: Path, name: str) -> None:
    rest = [] if name == "info" else ["word"]
    garbage, cut = tmp_path / "garbage.bin", tmp_path / "cut.bin"
    garbage.write_bytes(b"\x01\x02\x03" * 100)
    cut.write_bytes(WORDS.read_bytes()[:-100])
    assert_error(run(name, tmp_path / "nosuch.bin", *rest), 1, "nosuch.bin: No such file or directory")
    assert_error(run(name, tmp_path, *rest), 1, str(tmp_path), "a directory")
    assert_error(run(name, garbage, *rest), 1, str(garbage), "no format accepts this file")
    assert_error(run(name, cut, *rest), 1, str(cut), "expected", "found")


def test_verify_finds_what_open_refuses(run: Run, tmp_path: Path) -> None:
    cut = tmp_path / "cut.bin"
    cut.write_bytes(WORDS.read_bytes()[:-100])
    result = run("verify", cut)
    assert result.code == 1 and result.lines[0].startswith(b"error: ") and result.err == ""
    assert_error(run("verify", tmp_path / "nosuch.bin"), 1, "nosuch.bin: No such file or directory")


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (["nosuch"], "nosuch"),
        (["get"], "MODEL"),
        (["get", "model"], "WORD"),
        (["get", "model", "word", "--nosuch"], "--nosuch"),
        (["get", "model", "word", "--missing", "perhaps"], "perhaps"),
        (["get", "model", "word", "--precision", "10"], "--precision"),
        (["get", "model", "word", "--json", "--format", "npy"], "--json"),
        (["nn", "model", "word", "-k", "0"], "-k"),
        (["nn", "model", "word", "-k", "many"], "valid integer"),
        (["analogy", "model", "a", "b"], "C"),
        (["predict", "model", "text", "-k", "0"], "-k"),
        (["predict", "model", "two\nlines"], "one line"),
        (["convert", "a"], "DST"),
        (["--nosuch"], "--nosuch"),
    ],
)
def test_wrong_command_lines_end_with_2(run: Run, argv: list[str], part: str) -> None:
    assert_error(run(*argv), 2, part, "--help")


def test_errors_are_safe_to_show(run: Run, tmp_path: Path) -> None:
    """A file name with control characters or broken bytes does not reach the terminal as it is."""
    result = run("info", str(tmp_path / "a\x1b[31m\udcff\nb"))
    assert_error(result, 1, "a\\x1b[31m\\udcff b")


def test_bugs_keep_their_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(vecio, "open", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run("info", WORDS)


def test_memory_and_warnings_take_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    def short(*_: object, **__: object) -> None:
        warnings.warn("mind\nthis", stacklevel=1)
        raise MemoryError

    monkeypatch.setattr(vecio, "open", short)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = run("info", WORDS)
    assert result.code == 1
    assert result.err == "vecio: warning: mind this\nvecio: there is not enough memory for this\n"


# -- streams and signals ---------------------------------------------------------------------------------------


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_bytes(b"hausing\n" * 50_000)
    with open(words, "rb") as stdin, start("get", WORDS, "-", stdin=stdin) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith(b"hausing ")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_an_error() -> None:
    with open("/dev/full", "wb") as full, start("get", WORDS, "die", stdout=full) as process:
        assert process.communicate()[1] == b"vecio: No space left on device\n"
    assert process.returncode == 1


def test_closed_streams_are_errors() -> None:
    for closed, argv in ((0, ["-"]), (1, ["die"])):
        with start("get", WORDS, *argv, preexec_fn=lambda fd=closed: os.close(fd)) as process:
            out, err = process.communicate()
        name = b"input" if closed == 0 else b"output"
        assert (process.returncode, out, err) == (1, b"", b"vecio: standard %b is closed\n" % name)


def test_ctrl_c_takes_one_line() -> None:
    with start("get", WORDS, "-") as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write(b"die\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"die ")
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b"vecio: stopped\n"
        process.stdin.close()
    assert process.returncode == 130


# -- progress --------------------------------------------------------------------------------------------------


def test_progress_lines() -> None:
    assert _progress.line("converting", "rows", 2_500_000, 10_000_000, 5.0) == (
        "converting  [######------------------]  25%  2.5 M rows  500 k rows/s  15 s left"
    )
    assert _progress.line("verifying", "B", 7_200_000_000, 7_200_000_000, 4.0) == (
        "verifying  [########################] 100%  7.2 GB  1.8 GB/s  4.0 s"
    )
    assert _progress.line("done", "words", 1500, 0, 2.0) == "done  1.5 k words  750 words/s"
    assert [_progress.duration(s) for s in (0.04, 9.94, 59.4, 61, 3599.6, 7620)] == [
        "0.0 s", "9.9 s", "59 s", "1 min 01 s", "1 h 00 min", "2 h 07 min",
    ]  # fmt: skip


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "shown", "drawn"), [
    (Terminal(), None, True), (Terminal(), False, False), (io.StringIO(), None, False), (io.StringIO(), True, True),
])  # fmt: skip
def test_progress_is_for_terminals(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, shown: Any, drawn: bool
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    with _progress.Progress("task", "rows", shown=shown, stream=stream) as bar:
        for done in range(1, 11):
            bar(done, 10)
    text = stream.getvalue()
    assert bool(text) == drawn
    if drawn and stream.isatty():  # nothing stays
        assert "\n" not in text and text.endswith("\r") and text.split("\r")[-2].strip() == ""
    elif drawn:
        assert text.endswith("\n") and text.count("\n") == text.count("task") == 5


def test_progress_of_nothing() -> None:
    stream = io.StringIO()
    with _progress.Progress("task", shown=True, stream=stream):
        pass
    assert stream.getvalue() == ""


def test_progress_of_a_command(run: Run, tmp_path: Path) -> None:
    result = run("get", WORDS, "-", "--progress", stdin=b"die\ndas\n")
    assert len(result.lines) == 2 and result.err.startswith("done  2 words") and result.err.count("\n") == 1
    assert run("get", WORDS, "-", stdin=b"die\n").err == ""
    converted = run("convert", WORDS, tmp_path / "a.safetensors", "--progress")
    assert converted.code == 0 and "100%" in converted.err
    assert run("verify", tmp_path / "a.safetensors", "--progress").code == 0


# -- plug-ins --------------------------------------------------------------------------------------------------

PLUGIN = '''"""A plug-in."""

raise_on_import = open(__file__ + ".imported", "w").close()

import typer


def hello(name: str, loud: bool = False) -> None:
    """Greet somebody.

    At length.
    """
    print("HELLO" if loud else "hello", name)


tools = typer.Typer(help="Several at once.")


@tools.command()
def one() -> int:
    """The first."""
    return 3


@tools.command()
def two() -> None:
    """The second."""
    raise OSError(2, "No such thing", "thing")
'''


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that adds commands, and one whose module is missing; the marker of the first's import."""
    package = tmp_path / "vecio_test_plugin"
    package.mkdir()
    module = package / "commands.py"
    module.write_text(PLUGIN)
    (package / "__init__.py").write_text("")
    folder = tmp_path / "vecio_test_plugin-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: vecio-test-plugin\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[vecio.commands]\nhello = vecio_test_plugin.commands:hello\ntools = vecio_test_plugin.commands:tools\n"
        "gone = vecio_test_nowhere:command\nlost = vecio_test_plugin.nowhere:x\n"
        "get = vecio_test_plugin.commands:hello\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("vecio_test_plugin", "vecio_test_plugin.commands"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return Path(f"{module}.imported")


def test_plugins_are_listed_without_importing_them(run: Run, plugins: Path) -> None:
    listed = [
        line.split(None, 1) for line in run("--help").out.decode().split("Commands:")[1].strip().splitlines()
    ]
    commands = dict(listed)
    assert commands["hello"] == "Greet somebody." and commands["tools"] == "A plug-in."
    assert commands["gone"] == commands["lost"] == "(not installed)"
    assert commands["get"].startswith("Print the vectors")  # its own commands come first
    assert not plugins.exists() and "vecio_test_plugin" not in sys.modules


def test_plugins_run(run: Run, plugins: Path) -> None:
    assert run("hello", "you").out == b"hello you\n" and plugins.exists()
    assert run("hello", "you", "--loud").out == b"HELLO you\n"
    assert run("hello", "--help").out.startswith(b"Usage: vecio hello")
    assert b"Greet somebody." in run("hello", "--help").out
    assert_error(run("hello"), 2, "vecio hello", "argument")
    assert run("tools", "one").code == 3
    assert_error(run("tools", "two"), 1, "thing: No such thing")
    assert_error(run("gone"), 1, "'gone' cannot be loaded", "vecio_test_nowhere")
    assert run("get", WORDS, "die").code == 0


def test_convert_takes_options_of_both_formats(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "a.safetensors"
    assert_error(run("convert", WORDS, target, "-O", "nosuch=1"), 2, "nosuch", "there are")
    assert_error(run("convert", WORDS, target, "-O", "nosuch"), 2, "NAME=VALUE")
    assert_error(run("convert", WORDS, target, "--read-option", "nosuch=true"), 2, "nosuch")
    assert_error(run("convert", WORDS, target, "--strict"), 1, "would lose", "output matrix")
    assert os.listdir(tmp_path) == []
    (report,) = run("convert", WORDS, target, "--limit", "7", "--json").objects
    assert any("behind the first 7" in text for text in report["lost"])
    assert report["words"] == 7 and run("info", target, "--json").objects[0]["words"] == 7


def test_neighbours_in_a_model_without_words(run: Run) -> None:
    table = Path(__file__).parent / "data" / "floret" / "floret-hc4.floret"
    assert_error(run("nn", table, "house"), 1, "no list of words")
    assert_error(run("analogy", table, "a", "b", "c"), 1, "no list of words")
    assert run("get", table, "house").code == 0
    assert "words          0" in run("info", table).out.decode()


def test_convert_does_not_replace_files_beside_unasked(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "a.words.txt"
    mine.write_text("mine")
    assert_error(run("convert", WORDS, tmp_path / "a.npy"), 1, str(mine), "--force")
    assert mine.read_text() == "mine" and os.listdir(tmp_path) == [mine.name]
    assert run("convert", WORDS, tmp_path / "a.npy", "--force").code == 0


def test_formats_are_listed(run: Run) -> None:
    listed = {one["name"]: one for one in run("formats", "--json").objects}
    assert (
        listed["fasttext"]["extensions"] == [".bin", ".ftz"]
        and "cutoff" in listed["fasttext"]["write_options"]
    )
    assert listed["spacy"]["folder"] and not listed["navec"]["write"]
    text = run("formats").out.decode()
    assert all(name in text for name in listed) and "no_header" in text


def test_options_of_the_model_in_every_command(run: Run) -> None:
    with_options = ["--from", "fasttext", "--read-option", "limit=5"]
    assert run("info", WORDS, "--json", *with_options).objects[0]["words"] == 5
    assert run("verify", WORDS, *with_options).code == 0
    assert run("get", WORDS, "the", *with_options).code == 0
    assert_error(run("info", WORDS, "--from", "nosuch"), 2, "nosuch")
    assert_error(run("nn", WORDS, "the", "--read-option", "nosuch=1"), 2, "nosuch")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_conversion_and_leaves_nothing(number: int, tmp_path: Path) -> None:
    rows = tmp_path / "big.vec"
    rows.write_bytes(b"60000 100\n" + b"".join(b"w%d" % i + b" 0.5" * 100 + b"\n" for i in range(60_000)))
    command = [
        sys.executable,
        "-m",
        "vecio.cli",
        "convert",
        str(rows),
        str(tmp_path / "out.vec"),
        "--progress",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        while not any(".out.vec" in name for name in os.listdir(tmp_path)) and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    if process.returncode != 0:  # it may have been done before the signal came
        assert process.returncode == 128 + number, said
        assert os.listdir(tmp_path) == ["big.vec"] and b"Traceback" not in said
