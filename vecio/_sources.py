"""What `vecio.open` can be given besides the path of a file: folders, bytes, open files, packed files, hf:// names.

Everything ends as a mapped file or a folder. A packed file (gzip, bzip2, xz, zstd) is unpacked once, as a stream, into
a cache whose entries are named after the file's identity: path, length and time of the last change.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any, BinaryIO

from ._binary import Cursor, Folder, MappedFile, atomic_write
from .errors import FormatError, TruncatedError, VecioError

#: Bytes that are read at a time.
BLOCK = 1 << 20
#: What unpacks to more than FREE bytes must not be more than RATIO times as large as it was packed: vectors never are.
FREE, RATIO = 16 << 20, 100
HUB = "hf://"


def acquire(source: Any, *, copy: bool = False) -> MappedFile | Folder:
    """Return what `source` names or is, mapped; with `copy`, in memory. Raises VecioError, OSError, TypeError."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return MappedFile.of_bytes([bytes(source)], "<bytes>")
    if hasattr(source, "read"):
        return in_memory(_of_stream(source)) if copy else _of_stream(source)
    if isinstance(source, str) and source.startswith(HUB):
        from ._hub import fetch

        return acquire(fetch(source.removeprefix(HUB)), copy=copy)
    path = os.fspath(source)
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if "\0" not in path and os.path.isdir(path):
        return Folder.open(path, copy=copy)
    file = MappedFile.open(path)
    unpack = _unpacker(file.map[:6])
    if unpack is None and not copy:
        return file
    if unpack is None:
        return in_memory(file)
    try:
        found = unpacked(file, unpack)
    finally:
        file.close()
    return in_memory(found) if copy else found


def in_memory(file: MappedFile) -> MappedFile:
    """Return a file in memory with the same bytes and names; the mapped one is closed."""
    try:
        copied = MappedFile.copy_of(file)
    finally:
        file.close()
    copied.unpacked = file.unpacked
    return copied


def _of_stream(stream: IO[bytes]) -> MappedFile:
    """Map an open binary file: in place where it is a regular file at its start, else a copy of what it still gives.

    What only stands before a file, such as a `gzip.GzipFile`, is read: its descriptor leads to other bytes.
    """
    name = str(getattr(stream, "name", f"<{type(stream).__name__}>"))
    raw = getattr(stream, "raw", stream)
    if isinstance(raw, io.FileIO):
        with contextlib.suppress(OSError, ValueError):  # not a file that can be mapped: read it
            if stat.S_ISREG(os.fstat(raw.fileno()).st_mode) and stream.tell() == 0:
                return MappedFile.of_descriptor(raw.fileno(), name)

    def pieces() -> Iterator[bytes]:
        while piece := stream.read(BLOCK):
            if not isinstance(piece, (bytes, bytearray, memoryview)):
                raise TypeError("vecio.open needs a file that was opened in binary mode")
            yield piece

    return MappedFile.of_bytes(pieces(), name)


# -- packed files --------------------------------------------------------------------------------------------------

Opener = Callable[[BinaryIO], IO[bytes]]


def _unpacker(head: bytes) -> Opener | None:
    """Return what opens a packed stream that begins like this, or None for a file that is not packed."""
    if head.startswith(b"\x1f\x8b"):
        return _gzip
    if head.startswith(b"BZh"):
        return _bzip2
    if head.startswith(b"\xfd7zXZ\x00"):
        return _xz
    return _zstd if head.startswith(b"\x28\xb5\x2f\xfd") else None


def _gzip(stream: BinaryIO) -> Any:
    import gzip

    return gzip.GzipFile(fileobj=stream)


def _bzip2(stream: BinaryIO) -> IO[bytes]:
    import bz2

    return bz2.BZ2File(stream)


def _xz(stream: BinaryIO) -> IO[bytes]:
    import lzma

    return lzma.LZMAFile(stream)


def _zstd(stream: BinaryIO) -> IO[bytes]:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.ZstdFile(stream)
    try:
        import zstandard
    except ImportError:
        raise VecioError("reading zstd needs the package zstandard: pip install 'vecio[zstd]'") from None
    reader: IO[bytes] = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
        stream, read_across_frames=True
    )
    return reader


def _check_zstd(file: MappedFile) -> None:
    """Walk all blocks (RFC 8878, section 3.1): zstandard's reader takes a file that was cut for one that ends."""
    cursor = Cursor(file)
    while cursor.offset < file.size:
        magic = cursor.u32("the magic number of a frame")
        if magic & 0xFFFFFFF0 == 0x184D2A50:
            cursor.skip(cursor.u32("the size of a skippable frame"), "a skippable frame")
            continue
        if magic != 0xFD2FB528:
            raise FormatError(
                file.path,
                "bytes behind the zstd stream",
                offset=cursor.offset - 4,
                expected="a frame or the end",
            )
        descriptor = cursor.u8("the descriptor of a frame")
        single = descriptor >> 5 & 1
        size = (single, 2, 4, 8)[descriptor >> 6]
        cursor.skip((1 - single) + (0, 1, 2, 4)[descriptor & 3] + size, "the header of a frame")
        last = False
        while not last:
            head = int.from_bytes(file.bytes(*_span(cursor, 3, "the header of a block")), "little")
            last, kind = bool(head & 1), head >> 1 & 3
            cursor.skip(1 if kind == 1 else head >> 3, "a block")
        cursor.skip(4 * (descriptor >> 2 & 1), "the checksum of a frame")


def _span(cursor: Cursor, count: int, name: str) -> tuple[int, int]:
    start = cursor.skip(count, name)
    return start, start + count


def cache_folder() -> str:
    """Return the folder of unpacked files: VECIO_CACHE, else `vecio` in the user's cache folder."""
    named = os.environ.get("VECIO_CACHE")
    if named:
        return named
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "vecio")


def unpacked(file: MappedFile, unpack: Opener) -> MappedFile:
    """Return the unpacked content of a file, from the cache if it is there; it keeps the packed file's name."""
    import hashlib  # 20 ms that other files must not wait for

    status = os.stat(file.path)
    path = os.path.realpath(file.path)
    identity = f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0{file.identity()}"
    of_path, key = (hashlib.sha256(os.fsencode(text)).hexdigest()[:24] for text in (path, identity))
    stem = os.path.splitext(os.path.basename(file.path))[0][:80]
    place = os.path.join(cache_folder(), f"{of_path}-{key}-{stem}")
    with contextlib.suppress(OSError):
        return _mapped_as(place, file.path)
    if unpack is _zstd:
        _check_zstd(file)
    os.makedirs(cache_folder(), mode=0o700, exist_ok=True)
    with open(file.path, "rb") as packed, atomic_write(place) as target:
        for piece in _pieces(packed, unpack, file):
            target.write(piece)
    _forget(of_path, place)
    return _mapped_as(place, file.path)


def _forget(of_path: str, place: str) -> None:
    """Remove what older states of the same file were unpacked to; who has it open keeps it."""
    for name in os.listdir(cache_folder()):
        if name.startswith(f"{of_path}-") and name != os.path.basename(place):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(cache_folder(), name))


def _mapped_as(place: str, path: str) -> MappedFile:
    """Map the file at `place` under the name `path`."""
    fd = os.open(place, os.O_RDONLY)
    try:
        mapped = MappedFile.of_descriptor(fd, path)
    finally:
        os.close(fd)
    mapped.unpacked = place
    return mapped


def _pieces(packed: BinaryIO, unpack: Opener, file: MappedFile) -> Iterator[bytes]:
    """Yield the unpacked content; damaged streams and bombs raise FormatError."""
    import lzma
    import zlib

    errors: tuple[type[Exception], ...] = (zlib.error, lzma.LZMAError, ValueError)
    with contextlib.suppress(ImportError):
        import zstandard

        errors = (*errors, zstandard.ZstdError)
    done = 0
    try:
        with unpack(packed) as stream:
            while piece := stream.read(BLOCK):
                done += len(piece)
                if done > FREE and done > RATIO * max(1, packed.tell()):
                    raise FormatError(
                        file.path,
                        "it unpacks to far more than vectors can (unpack it yourself if it is what you want)",
                        offset=packed.tell(),
                        expected=f"at most {RATIO} times its size",
                        found=f"more than {done} bytes",
                    )
                yield piece
    except EOFError:
        raise TruncatedError(
            file.path,
            "the packed stream ends in the middle",
            offset=file.size,
            found=f"{done} bytes unpacked",
        ) from None
    except errors as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(
            file.path, f"the packed stream is damaged ({str(error)[:80]})", found=f"{done} bytes"
        ) from None
    except OSError as error:
        if error.errno is None:  # what gzip and bz2 raise for damaged streams
            raise FormatError(file.path, f"the packed stream is damaged ({str(error)[:80]})") from None
        raise
    if not done:
        raise TruncatedError(
            file.path, "the packed file is empty", expected="at least 8 bytes", found="0 bytes"
        )
