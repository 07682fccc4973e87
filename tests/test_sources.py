"""What `vecio.open` takes besides a path: bytes, open files, packed files and their cache, folders, hf:// names."""

from __future__ import annotations

import bz2
import gzip
import http.server
import io
import json
import lzma
import os
import pickle
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import child
import numpy as np
import pytest

import vecio
from vecio import _binary, _hub, _sources

MODEL = Path(__file__).parent / "data" / "fasttext" / "cbow-ns.bin"
WORDS = ["the", "nosuchword", "größe"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("VECIO_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def vectors() -> bytes:
    with vecio.open(MODEL) as e:
        return e.embed(WORDS).tobytes()


def assert_same(source: object, vectors: bytes) -> None:
    with vecio.open(source) as e:
        assert e.embed(WORDS).tobytes() == vectors


# -- bytes and open files ------------------------------------------------------------------------------------------


def test_bytes(vectors: bytes) -> None:
    data = MODEL.read_bytes()
    for source in (data, bytearray(data), memoryview(data)):
        assert_same(source, vectors)
    assert vecio.detect(data) == "fasttext"


def test_open_files(vectors: bytes, tmp_path: Path) -> None:
    data = MODEL.read_bytes()
    assert_same(io.BytesIO(data), vectors)
    with open(MODEL, "rb") as stream:
        assert_same(stream, vectors)
    shifted = tmp_path / "shifted"
    shifted.write_bytes(b"prefix" + data)
    with open(shifted, "rb") as stream:
        stream.seek(6)
        assert_same(stream, vectors)
    with gzip.open(io.BytesIO(gzip.compress(data))) as stream:
        assert_same(stream, vectors)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(data))
    with gzip.open(tmp_path / "packed.gz") as stream:  # has a descriptor, which leads to the packed bytes
        assert_same(stream, vectors)
    with tempfile.NamedTemporaryFile() as stream:
        stream.write(data)
        stream.seek(0)
        assert_same(stream, vectors)


def test_a_file_without_a_descriptor_closes_nothing_of_ours(vectors: bytes) -> None:
    with open(MODEL, "rb") as stream, vecio.open(stream) as e:
        stream.close()
        assert e.embed(WORDS).tobytes() == vectors


def test_what_has_no_path_does_not_pickle() -> None:
    with vecio.open(MODEL.read_bytes()) as e, pytest.raises(vecio.VecioError):
        pickle.dumps(e)


@pytest.mark.parametrize("source", [b"", io.BytesIO(), b"x", b"\0" * 100])
def test_bytes_that_are_no_model(source: object) -> None:
    with pytest.raises(vecio.VecioError, match=r"BytesIO|<bytes>"):
        vecio.open(source)


def test_text_files_are_refused() -> None:
    with pytest.raises(TypeError, match="binary"):
        vecio.open(io.StringIO("word 1 2\n"))


def test_a_copy_of_whatever_is_opened(vectors: bytes, tmp_path: Path, cache: Path) -> None:
    """With copy=True nothing that is done to the file afterwards matters: open files and packed ones, too."""
    plain, packed = tmp_path / "model.bin", tmp_path / "model.bin.gz"
    plain.write_bytes(MODEL.read_bytes())
    packed.write_bytes(gzip.compress(MODEL.read_bytes()))
    with open(plain, "rb") as stream:
        models = [vecio.open(source, copy=True) for source in (plain, stream, packed)]
    (unpacked,) = cache.iterdir()
    for path in (plain, packed, unpacked):
        os.truncate(path, 10)
    for e in models:
        assert e.embed(WORDS).tobytes() == vectors
        e.close()


# -- packed files --------------------------------------------------------------------------------------------------


def packed(data: bytes, kind: str) -> bytes:
    if kind == "zst":
        zstandard = pytest.importorskip("zstandard")
        return zstandard.ZstdCompressor(write_checksum=True).compress(data)
    return {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[kind](data)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_packed(kind: str, vectors: bytes, tmp_path: Path, cache: Path) -> None:
    path = tmp_path / f"model.bin.{kind}"
    path.write_bytes(packed(MODEL.read_bytes(), kind))
    with vecio.open(path) as e:
        assert e.embed(WORDS).tobytes() == vectors
        assert e.path == str(path)
        again = pickle.loads(pickle.dumps(e))
        assert again.embed(WORDS).tobytes() == vectors
        assert isinstance(e._file, _binary.MappedFile) and e._file.unpacked is not None
        assert os.path.dirname(e._file.unpacked) == str(cache)
    (unpacked,) = os.listdir(cache)
    before = os.stat(cache / unpacked).st_mtime_ns
    assert_same(path, vectors)
    assert os.stat(cache / unpacked).st_mtime_ns == before, "it was unpacked twice"


def test_the_cache_notices_another_file(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "model.gz"
    path.write_bytes(gzip.compress(MODEL.read_bytes()))
    with vecio.open(path) as e:
        first = list(e.words)
    other = MODEL.with_name("sg-ns.bin")
    path.write_bytes(gzip.compress(other.read_bytes()))
    with vecio.open(path) as e, vecio.open(other) as expected:
        assert list(e.words) == list(expected.words) != first
    assert len(os.listdir(cache)) == 1, "the old state is kept"


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_damaged_streams(kind: str, tmp_path: Path, cache: Path) -> None:
    path = tmp_path / f"model.bin.{kind}"
    data = packed(MODEL.read_bytes(), kind)
    damaged = [
        data[: len(data) // 2],
        data[:-3],
        data[:7],
        data[:100] + bytes(50) + data[150:],
        data + b"junk",
    ]
    for broken in damaged:
        path.write_bytes(broken)
        try:
            with vecio.open(path) as e:
                assert broken is damaged[-1] and len(e) > 0
        except vecio.FormatError as error:
            assert str(path) in str(error)
    assert not [name for name in (os.listdir(cache) if cache.is_dir() else []) if name.startswith(".")]


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_bombs_are_bounded(kind: str, tmp_path: Path, cache: Path) -> None:
    path = tmp_path / f"bomb.{kind}"
    path.write_bytes(packed(bytes(200 << 20), kind))
    assert os.stat(path).st_size < 1 << 20
    with pytest.raises(vecio.FormatError, match="far more than vectors can"):
        vecio.open(path)
    assert os.listdir(cache) == []


def test_an_empty_packed_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.gz"
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(vecio.TruncatedError, match="empty"):
        vecio.open(path)


def test_packed_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.gz"
    path.write_bytes(gzip.compress(gzip.compress(MODEL.read_bytes())))
    with pytest.raises(vecio.UnknownFormatError):
        vecio.open(path)


def test_no_place_for_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.gz"
    path.write_bytes(gzip.compress(MODEL.read_bytes()))
    monkeypatch.setenv("VECIO_CACHE", str(path / "inside a file"))
    with pytest.raises(OSError):
        vecio.open(path)


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VECIO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert _sources.cache_folder() == "/somewhere/vecio"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/of/somebody")
    assert _sources.cache_folder() == "/of/somebody/.cache/vecio"


# -- folders -------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(vecio.UnknownFormatError, match="a directory that no format accepts"):
        vecio.open(tmp_path)
    with pytest.raises(vecio.FormatError, match="is a file"):
        vecio.open(tmp_path, format="fasttext")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a//b", ".", "", "a\0b"])
def test_names_that_lead_out_of_a_folder(name: str, tmp_path: Path) -> None:
    folder = _binary.Folder.open(tmp_path)
    assert name not in folder
    with pytest.raises(vecio.FormatError, match="leads out"):
        folder.file(name)


def test_a_folder_with_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_binary.Folder, "MOST_FILES", 3)
    for i in range(4):
        (tmp_path / str(i)).touch()
    with pytest.raises(vecio.FormatError, match="too many files"):
        vecio.open(tmp_path)


def test_atomic_folder(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for content in ("old", "new"):
        with _binary.atomic_folder(target) as folder:
            Path(folder, "file").write_text(content)
        assert [p.name for p in tmp_path.iterdir()] == ["model"] and (target / "file").read_text() == content
    with pytest.raises(ZeroDivisionError), _binary.atomic_folder(target) as folder:
        Path(folder, "file").write_text("broken")
        raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ["model"] and (target / "file").read_text() == "new"
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError), _binary.atomic_folder(tmp_path / "file"):
        pass


def test_a_folder_with_other_things_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "home"
    (target / "inside").mkdir(parents=True)
    (target / "thesis.txt").write_text("years of work")
    e = vecio.Embeddings.from_arrays(["a", "b"], [[1.0], [2.0]])
    (tmp_path / "link").symlink_to(target)
    for path in (target, tmp_path / "link"):
        with pytest.raises(vecio.VecioError, match=r"inside|thesis"):
            e.save(path, format="model2vec")
    monkeypatch.chdir(target / "inside")
    for here in (".", "..", str(tmp_path)):
        with pytest.raises(vecio.VecioError, match="works in"):
            e.save(here, format="spacy")
    assert (target / "thesis.txt").read_text() == "years of work"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "link"]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    e = vecio.Embeddings.from_arrays(["a"], [[1.0]])
    with pytest.raises(vecio.VecioError, match="a FIFO, which is not replaced"):
        e.save(tmp_path / "pipe.safetensors")
    with pytest.raises(FileNotFoundError, match="nosuch"):
        e.save(tmp_path / "nosuch" / "a.safetensors")


# -- limit ---------------------------------------------------------------------------------------------------------


def test_limit(tmp_path: Path) -> None:
    with vecio.open(MODEL) as whole, vecio.open(MODEL, limit=5) as few:
        assert list(few.words) == whole.words[:5] and len(few) == 5
        for word in whole.words[:5]:
            assert few[word].tobytes() == whole[word].tobytes()
        assert whole.words[7] not in few and few.index(whole.words[7]) == -1
        assert few["nosuchword"].tobytes() == whole["nosuchword"].tobytes()
        again = pickle.loads(pickle.dumps(few))
        assert len(again) == 5
        few.save(tmp_path / "few.safetensors")
    with vecio.open(tmp_path / "few.safetensors") as saved, vecio.open(MODEL) as whole:
        assert saved[saved.words[3]].tobytes() == whole[whole.words[3]].tobytes()
    with vecio.open(MODEL, limit=10**9) as e, vecio.open(MODEL) as whole:
        assert len(e) == len(whole)
    for wrong in (-1, 2.5, "7"):
        with pytest.raises(ValueError, match="limit"):
            vecio.open(MODEL, limit=wrong)


def test_options_that_a_format_does_not_have() -> None:
    with pytest.raises(ValueError, match=r"fasttext has no option 'no_header' to read.*there are"):
        vecio.open(MODEL, no_header=True)


# -- the hub -------------------------------------------------------------------------------------------------------

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as its client asks for: one repository with some files."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/owner/name"):
            found = {
                "id": "owner/name",
                "modelId": "owner/name",
                "sha": COMMIT,
                "private": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "siblings": [{"rfilename": name} for name in self.files],
            }
            if "/tree/" in path:
                tree = [
                    {"type": "file", "path": n, "size": len(d), "oid": f"{i:040x}"}
                    for i, (n, d) in enumerate(self.files.items())
                ]
                self.send(json.dumps(tree).encode(), body, "application/json")
            else:
                self.send(json.dumps(found).encode(), body, "application/json")
            return
        name = path.removeprefix("/owner/name/resolve/").partition("/")[2]
        if name in self.files:
            self.send(self.files[name], body, "application/octet-stream")
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if "/owner/name/" in path else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def send(self, data: bytes, body: bool, kind: str) -> None:
        self.send_response(200)
        for name, value in (
            ("Content-Length", str(len(data))),
            ("Content-Type", kind),
            ("ETag", f'"{len(data):040x}"'),
            ("X-Repo-Commit", COMMIT),
        ):
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A hub on localhost; yields the variables that lead its client there."""
    pytest.importorskip("huggingface_hub")
    Hub.files = {"model.bin": MODEL.read_bytes(), "README.md": b"a model"}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}",
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "*",
    }
    server.shutdown()
    server.server_close()


def open_name(name: str) -> list[str]:
    """Open a name of the hub (in a process of its own: the client reads its settings at import)."""
    try:
        with vecio.open(name) as e:
            vectors = e.embed(["the", "nosuchword", "größe"])
            return ["opened", np.asarray(vectors).tobytes().hex(), e.path or ""]
    except (vecio.VecioError, OSError) as error:
        return [type(error).__name__, str(error), ""]


@pytest.mark.judge
def test_a_file_of_the_hub(hub: dict[str, str], vectors: bytes) -> None:
    for name in ("hf://owner/name/model.bin", "hf://owner/name@main/model.bin"):
        what, found, path = child.run(open_name, name, env=hub)
        assert (what, found) == ("opened", vectors.hex()), found
        assert path.endswith("model.bin")


@pytest.mark.judge
def test_a_repository_of_the_hub(hub: dict[str, str], vectors: bytes) -> None:
    what, found, path = child.run(open_name, "hf://owner/name", env=hub)
    assert (what, found) == ("opened", vectors.hex()) and path.endswith("model.bin")
    Hub.files["other.bin"] = b"another"
    what, found, _ = child.run(open_name, "hf://owner/name", env=hub | {"HF_HOME": hub["HF_HOME"] + "2"})
    assert what == "UnknownFormatError" and "a directory that no format accepts" in found, found


@pytest.mark.judge
def test_what_the_hub_does_not_have(hub: dict[str, str]) -> None:
    for name in ("hf://owner/name/nosuch.bin", "hf://nobody/nothing"):
        what, found, _ = child.run(open_name, name, env=hub)
        assert what != "opened" and found


@pytest.mark.parametrize(
    "name", ["hf://", "hf://owner", "hf:///name", "hf://owner//file", "hf://owner/name/../x"]
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(vecio.VecioError, match="hf://"):
        vecio.open(name)


def test_errors_of_the_hub_without_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def fail(*_: object, **__: object) -> str:
        raise RuntimeError

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(vecio.VecioError, match="hf://owner/name: RuntimeError"):
        vecio.open("hf://owner/name")


def test_what_is_fetched_of_a_pipeline() -> None:
    """The vectors of spaCy's pipelines lie in a folder of their own; without them there is nothing to open."""
    utils = pytest.importorskip("huggingface_hub.utils")
    model = {f"vocab/{name}" for name in ("vectors", "key2row", "vectors.cfg", "strings.json")}
    others = {"ner/model", "vocab/lookups.wheel", "en.whl", "tok2vec/cfg"}
    found = utils.filter_repo_objects(
        sorted(model | others), allow_patterns=list(_hub.WANTED), ignore_patterns=list(_hub.UNWANTED)
    )
    assert set(found) == model
