"""Read-only mapped files, checked reads and atomic writes: the only place of `vecio` that touches the file system.

No byte is trusted. A file is opened without ever waiting (no FIFO, device or socket gets through), its length is taken
once, and every array and number is compared with that length before it is looked at. This file knows no format.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import shutil
import stat
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from .errors import FormatError, TruncatedError, VecioError

#: Bytes at each end of a file that make up its identity, with its length (see `MappedFile.identity`).
IDENTITY_BYTES = 1 << 16
#: Bytes to read ahead at once: of a larger wish Linux fulfils only the beginning.
AHEAD = 1 << 17
#: Seconds for which the time of the last change is taken as read.
PATIENCE = 1e-4


class MappedFile:
    """A regular file, opened read-only and mapped whole.

    The map follows the file that was opened: a file replaced by rename, or removed, stays readable. Cutting or
    rewriting the file in place is noticed by `check`, which every public look-up calls before it touches the map.
    """

    __slots__ = (
        "__weakref__",
        "_checked",
        "_fd",
        "_mtime",
        "closed",
        "copied",
        "map",
        "path",
        "size",
        "unpacked",
    )

    def __init__(self, path: str, fd: int, size: int, mtime: int) -> None:
        self.path = path
        self.size = size
        #: Where the bytes lie if `path` is a packed file.
        self.unpacked: str | None = None
        #: Whether this is a copy in memory, which nothing that happens to the file can touch.
        self.copied = False
        self.closed = True  # until it is mapped: where that fails, the descriptor is the caller's to close
        self._fd = fd
        self._mtime = mtime
        self._checked = -1.0
        self.map = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
        self.closed = False

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, copy: bool = False) -> MappedFile:
        """Open and map `path`; with `copy`, read it into memory and map that.

        Raises FormatError for an empty or growing pseudo-file and for anything that is not a regular file (it never
        waits on one), and OSError as the system gives it.
        """
        name = os.fsdecode(os.fspath(path))
        if "\0" in name:
            raise FormatError(repr(name), "a file name cannot hold a NUL byte")
        fd = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        if not copy:
            return cls._of_own(fd, name)
        file = cls._of_own(fd, name)
        try:
            return cls.copy_of(file)
        finally:
            file.close()

    @classmethod
    def copy_of(cls, file: MappedFile) -> MappedFile:
        """Return a file in memory with the same bytes; TruncatedError where they end while they are read."""
        target = os.memfd_create("vecio") if hasattr(os, "memfd_create") else _nameless()
        try:
            done = 0
            while done < file.size:
                block = os.pread(file._fd, min(1 << 24, file.size - done), done)
                if not block:
                    raise TruncatedError(
                        file.path,
                        "the file was cut while it was read",
                        offset=done,
                        expected=f"{file.size} bytes",
                    )
                done += os.write(target, block)
            mapped = cls(file.path, target, file.size, os.fstat(target).st_mtime_ns)
        except BaseException:
            os.close(target)
            raise
        mapped.copied = True
        return mapped

    @classmethod
    def of_bytes(cls, pieces: Iterable[bytes], name: str) -> MappedFile:
        """Map bytes that are no file: they are copied, once, to a nameless temporary file. `name` stands in errors."""
        with tempfile.TemporaryFile() as stream:
            for piece in pieces:
                stream.write(piece)
            stream.flush()
            return cls.of_descriptor(stream.fileno(), name)

    @classmethod
    def of_descriptor(cls, descriptor: int, name: str) -> MappedFile:
        """Map a file that is open already (its descriptor is copied). Raises as `open` does."""
        fd = os.dup(descriptor)
        return cls._of_own(fd, name)

    @classmethod
    def _of_own(cls, fd: int, name: str) -> MappedFile:
        """Map the file behind a descriptor that is ours, and is closed where that fails."""
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise FormatError(name, "not a regular file", expected="a file", found=_kind(status.st_mode))
            if status.st_size == 0:
                raise TruncatedError(
                    name, "the file is empty", offset=0, expected="at least 8 bytes", found="0 bytes"
                )
            return cls(name, fd, status.st_size, status.st_mtime_ns)
        except BaseException:
            os.close(fd)
            raise

    def check(self) -> None:
        """Raise if the file was closed, cut or rewritten since it was opened. Costs about half a microsecond.

        This is what stands between a look-up and a SIGBUS: pages past a new end of the file must not be touched. The
        length is asked every time; the time of the last change at most every PATIENCE seconds, which is finer than
        the clock that file systems stamp with.
        """
        if self.closed:
            raise VecioError(f"{self.path}: used after close()")
        size = os.lseek(self._fd, 0, os.SEEK_END)
        if size < self.size:
            raise FormatError(
                self.path,
                "the file was cut while it was open",
                expected=f"{self.size} bytes",
                found=f"{size} bytes",
            )
        now = time.monotonic()
        if now - self._checked > PATIENCE:
            self._checked = now
            if size == self.size and os.fstat(self._fd).st_mtime_ns != self._mtime:
                self._checked = -1.0
                raise FormatError(self.path, "the file was rewritten in place while it was open")

    def bytes(self, start: int, stop: int) -> bytes:
        """Return a copy of the bytes from `start` to `stop`."""
        return self.map[start:stop]

    def read(self, target: np.ndarray[Any, Any], start: int) -> None:
        """Fill `target` (uint8) with the bytes from `start` on, read past the map: safe while others cut the file."""
        view = target.data
        done = 0
        while done < len(view):
            if hasattr(os, "preadv"):
                count = os.preadv(self._fd, [view[done:]], start + done)
            else:
                piece = self.map[start + done : start + len(view)]
                count = len(piece)
                view[done : done + count] = piece
            if not count:
                raise FormatError(
                    self.path,
                    "the file was cut while it was open",
                    offset=start + done,
                    expected=f"{self.size} bytes",
                    found=f"{start + done} bytes",
                )
            done += count

    def array(
        self, dtype: npt.DTypeLike, shape: int | tuple[int, ...], offset: int, what: str
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        """Return a read-only view of the mapped bytes; it may be unaligned.

        Raises FormatError or TruncatedError when it does not lie inside the file; `what` names it there.
        """
        kind = np.dtype(dtype)
        dims = tuple(int(n) for n in shape) if isinstance(shape, tuple) else (int(shape),)
        count = 1
        for n in dims:
            if n < 0:
                raise FormatError(self.path, f"the shape of {what} is negative", offset=offset, found=dims)
            count *= n
        need = count * kind.itemsize
        if offset < 0 or need > self.size - offset:
            raise TruncatedError(
                self.path,
                f"{what} does not fit",
                offset=max(offset, 0),
                expected=f"{need} bytes",
                found=f"{max(self.size - offset, 0)} bytes",
            )
        whole = np.frombuffer(
            self.map, np.uint8
        )  # holds the map: close() must not unmap under a living array
        view: np.ndarray[tuple[int, ...], np.dtype[np.generic]]
        view = np.ndarray(dims, kind, buffer=whole, offset=offset if count else 0)
        return view

    def advise(self, advice: str, start: int = 0, length: int | None = None) -> None:
        """Give the kernel a hint (`"RANDOM"`, `"WILLNEED"`, `"POPULATE_READ"`, `"DONTNEED"`) on part of the map.

        A hint that the system does not know, or refuses, is no error.
        """
        number = {"POPULATE_READ": 22}.get(advice, getattr(mmap, f"MADV_{advice}", None))
        if number is None:
            return
        begin = start - start % mmap.PAGESIZE
        end = self.size if length is None else min(start + length, self.size)
        step = AHEAD if advice == "WILLNEED" else max(end - begin, 1)
        with contextlib.suppress(OSError, ValueError):
            for place in range(begin, end, step):
                self.map.madvise(number, place, min(step, end - place))

    def advise_array(self, advice: str, array: np.ndarray[Any, Any]) -> None:
        """Give the kernel a hint on the pages of an array that lies in the map; nothing happens for any other array."""
        base = int(np.frombuffer(self.map, np.uint8).__array_interface__["data"][0])
        place = int(array.__array_interface__["data"][0]) - base
        if 0 <= place < self.size:
            self.advise(advice, place, array.nbytes)

    def identity(self) -> str:
        """Return a short text that tells this file's content from another's: its length and a CRC of both ends."""
        self.check()
        crc = zlib.crc32(self.map[: min(IDENTITY_BYTES, self.size)])
        crc = zlib.crc32(self.map[max(0, self.size - IDENTITY_BYTES) : self.size], crc)
        return f"{self.size}-{crc:08x}"

    def close(self) -> None:
        """Give back the descriptor; the map goes when no array points into it any more."""
        if not self.closed:
            self.closed = True
            os.close(self._fd)
            with contextlib.suppress(BufferError):
                self.map.close()

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if not getattr(self, "closed", True):
            self.closed = True
            close(self._fd)


def _nameless() -> int:
    """Return the descriptor of a temporary file without a name, for systems that have no files in memory."""
    fd, name = tempfile.mkstemp(prefix="vecio.")
    os.unlink(name)
    return fd


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISBLK, "a block device"),
    )
    return next((name for test, name in kinds if test(mode)), "something else")


class MappedGroup:
    """Several mapped files that make one model; the calls that `Embeddings` needs are those of one file.

    path: what errors and pickles name: the folder, or the file that the others stand beside.
    """

    def __init__(self, path: str, files: Sequence[MappedFile] = ()) -> None:
        self.path = path
        self.files = list(files)
        self.closed = False

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    def check(self) -> None:
        """Raise if any of the files was closed, cut or rewritten since it was opened."""
        if self.closed:
            raise VecioError(f"{self.path}: used after close()")
        for file in self.files:
            file.check()

    def advise(self, advice: str) -> None:
        """Give the kernel a hint on all files."""
        for file in self.files:
            file.advise(advice)

    def advise_array(self, advice: str, array: np.ndarray[Any, Any]) -> None:
        """Give the kernel a hint on the pages of an array that lies in one of the maps."""
        for file in self.files:
            file.advise_array(advice, array)

    def identity(self) -> str:
        """Return a short text that tells the content of these files from others'."""
        return "+".join(file.identity() for file in self.files)

    def close(self) -> None:
        """Give all files back."""
        self.closed = True
        for file in self.files:
            file.close()


class Folder(MappedGroup):
    """A folder as a model: its names are listed once, and a file is mapped when a reader asks for it."""

    #: Files of a folder that are looked at; one with more is no model.
    MOST_FILES = 10_000

    def __init__(self, path: str, names: frozenset[str], copied: bool = False) -> None:
        super().__init__(path)
        self.names = names
        self.copied = copied
        self._mapped: dict[str, MappedFile] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, copy: bool = False) -> Folder:
        """List a folder; raises OSError, and FormatError where it holds too many files. copy: read files, map none."""
        name = os.fsdecode(os.fspath(path))
        with os.scandir(name) as entries:
            names = frozenset(
                entry.name for entry, _ in zip(entries, range(cls.MOST_FILES + 1), strict=False)
            )
        if len(names) > cls.MOST_FILES:
            raise FormatError(name, "a folder with too many files", expected=f"at most {cls.MOST_FILES}")
        return cls(name, names, copy)

    def __contains__(self, name: str) -> bool:
        """Say whether there is a file of this name (`a/b` for one in a folder inside)."""
        return name in self.names or (
            "/" in name and self._inside(name) and os.path.isfile(self._place(name))
        )

    def file(self, name: str) -> MappedFile:
        """Map a file of the folder (`a/b`: in a folder inside); FormatError for a name that leads out of it."""
        if name not in self._mapped:
            if not self._inside(name):
                raise FormatError(self.path, "a path that leads out of the folder", found=ascii(name)[:80])
            self._mapped[name] = MappedFile.open(self._place(name), copy=self.copied)
            self.files.append(self._mapped[name])
        return self._mapped[name]

    def _inside(self, name: str) -> bool:
        parts = name.split("/")
        return not os.path.isabs(name) and "\0" not in name and not {"", ".", ".."} & set(parts)

    def _place(self, name: str) -> str:
        return os.path.join(self.path, *name.split("/"))


class Cursor:
    """Reads little-endian numbers one after the other; every short read names what it was reading."""

    __slots__ = ("file", "offset")

    def __init__(self, file: MappedFile, offset: int = 0) -> None:
        self.file = file
        self.offset = offset

    def skip(self, count: int, name: str) -> int:
        """Step over `count` bytes that must be there; return where they begin."""
        begin = self.offset
        if count < 0 or count > self.file.size - begin:
            raise TruncatedError(
                self.file.path,
                f"the file ends inside {name}",
                offset=min(begin, self.file.size),
                expected=f"{count} bytes",
                found=f"{max(self.file.size - begin, 0)} bytes",
            )
        self.offset = begin + count
        return begin

    def _number(self, form: str, size: int, name: str) -> int:
        begin = self.skip(size, name)
        return int(struct.unpack_from(form, self.file.map, begin)[0])

    def u8(self, name: str) -> int:
        """Read an unsigned byte."""
        return self._number("<B", 1, name)

    def i32(self, name: str) -> int:
        """Read a signed 32-bit integer."""
        return self._number("<i", 4, name)

    def i64(self, name: str) -> int:
        """Read a signed 64-bit integer."""
        return self._number("<q", 8, name)

    def u32(self, name: str) -> int:
        """Read an unsigned 32-bit integer."""
        return self._number("<I", 4, name)

    def u64(self, name: str) -> int:
        """Read an unsigned 64-bit integer."""
        return self._number("<Q", 8, name)

    def f64(self, name: str) -> float:
        """Read a double."""
        begin = self.skip(8, name)
        return float(struct.unpack_from("<d", self.file.map, begin)[0])


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Write a file so that `path` holds the old file or the whole new one, whatever happens.

    Yields a binary file beside the target; when the block ends well it is flushed to the disk, renamed, and the folder
    flushed. On any exception the temporary file is removed and the target untouched.
    """
    target = os.path.realpath(os.fsdecode(os.fspath(path)))
    folder = os.path.dirname(target) or "."
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    if os.path.exists(target) and not os.path.isfile(target):
        raise VecioError(f"{target}: {_kind(os.stat(target).st_mode)}, which is not replaced by a file")
    prefix = f".{os.path.basename(target)[:100]}."
    try:
        fd, temporary = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=folder)
    except OSError as error:
        raise _naming(error, target) from None
    try:
        with os.fdopen(fd, "w+b", buffering=1 << 20) as stream:
            os.chmod(temporary, _mode(target))
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename in (None, temporary):
            raise _naming(error, target) from None
        raise
    _sync_folder(folder)


def _naming(error: OSError, target: str) -> OSError:
    """Return the error of the system with the name of the file that was to be written."""
    return type(error)(error.errno, error.strerror or str(error), target)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[str]:
    """Write a folder so that `path` holds the old folder, the whole new one, or for a moment none, never a mixture.

    Yields the name of a new folder beside the target. When the block ends well its files are flushed and it takes the
    target's name; an old folder is moved aside first and removed afterwards. An old folder that holds anything that is
    not written again is not replaced: VecioError. On any exception the new one is removed.
    """
    target = os.path.realpath(os.fsdecode(os.fspath(path)))
    parent = os.path.dirname(target)
    if os.path.lexists(target) and not os.path.isdir(target):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), target)
    if os.path.join(os.path.realpath(os.getcwd()), "").startswith(os.path.join(target, "")):
        raise VecioError(f"{target}: a folder that one works in is not replaced")
    made = tempfile.mkdtemp(prefix=f".{os.path.basename(target)[:100]}.", suffix=".tmp", dir=parent)
    try:
        os.chmod(made, 0o777 & ~_umask())
        yield made
        for folder, _, names in os.walk(made):
            for name in names:
                _sync_file(os.path.join(folder, name))
            _sync_folder(folder)
        _put_in_place(made, target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    _sync_folder(parent)


def _put_in_place(made: str, target: str) -> None:
    """Give the folder `made` the name of `target`, whose old content goes when that is done."""
    if not os.path.isdir(target):
        os.rename(made, target)
        return
    others = sorted(_files(target) - _files(made))
    if others:
        raise VecioError(
            f"{target}: holds {others[0]!r}, which is no part of what is written: the folder is not replaced"
        )
    old = f"{made}.old"
    os.rename(target, old)
    try:
        os.rename(made, target)
    except BaseException:
        os.rename(old, target)
        raise
    for _ in range(2):  # a call that fails once must not leave the old folder behind
        shutil.rmtree(old, ignore_errors=True)


def _files(folder: str) -> set[str]:
    """Return the names of all that lies in a folder, and in those inside; empty folders count, too."""
    found = set()
    for place, folders, names in os.walk(folder):
        inside = os.path.relpath(place, folder)
        found |= {os.path.normpath(os.path.join(inside, name)) for name in [*names, *folders]}
    return found


def _sync_file(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _mode(target: str) -> int:
    """Return the permissions of the file that will be replaced, or those a new file would get."""
    try:
        return stat.S_IMODE(os.stat(target).st_mode)
    except OSError:
        return 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: str) -> None:
    if os.name == "nt":  # a folder cannot be opened there
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
