"""Parquet and Arrow tables, by pyarrow (extra `arrow`): a column of words, columns of numbers. See specs/table.md."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .._binary import MappedFile, MappedGroup, atomic_write
from ..embeddings import Embeddings, Parts
from ..errors import FormatError, TruncatedError, UnsupportedError, VecioError
from ..matrix import Float16, Float32, Matrix, Scattered
from ..vocabulary import Vocabulary
from .base import COUNTS, Fate, Format, Progress, RowTarget, Written, blocks, plain_dtype, vector_blocks
from .base import fate as common_fate

Array = npt.NDArray[Any]

PARQUET, ARROW = "parquet", "arrow"
DTYPES = ("float32", "float16")
#: Names that columns have, the likeliest first.
WORD_NAMES = ("word", "words", "token", "text", "key", "term")
VECTOR_NAMES = ("vector", "vectors", "embedding", "embeddings", "values")
COUNT_NAMES = ("count", "counts", "frequency")
#: What takes more than FREE bytes in memory must not take more than RATIO times the file's size.
FREE, RATIO = 16 << 20, 100
#: Rows that are decoded at a time: few enough for 4 MiB of numbers.
BLOCK = 1 << 20


def detect_parquet(file: MappedFile) -> str | None:
    """Return None for a Parquet file, else why it is none."""
    ends = file.map[:4], file.map[max(file.size - 4, 0) : file.size]
    return None if ends == (b"PAR1", b"PAR1") else "does not begin and end with PAR1"


def detect_arrow(file: MappedFile) -> str | None:
    """Return None for an Arrow IPC file, else why it is none."""
    return None if file.map[:8] == b"ARROW1\0\0" else "does not begin with ARROW1"


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise VecioError("tables need the package pyarrow: pip install 'vecio[arrow]'") from None
    return pyarrow


@contextlib.contextmanager
def _errors(file: MappedFile, what: str) -> Iterator[None]:
    """Turn what pyarrow raises for a damaged file into a FormatError."""
    try:
        yield
    except VecioError:
        raise
    except (
        MemoryError,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise FormatError(
            file.path, f"{what} cannot be read", found=ascii(str(error).strip().partition("\n")[0])[1:160]
        ) from None


# -- reading -------------------------------------------------------------------------------------------------------


def read_parquet(file: MappedFile, scratch: str | bool = False) -> Embeddings:
    """Read a Parquet file of words and vectors into memory.

    scratch: a folder (True: the one for temporary files) where large vectors go to a nameless file, not to memory.
    """
    pa = _pyarrow()
    why = detect_parquet(file)
    if why is not None:
        raise TruncatedError(file.path, why, offset=max(file.size - 4, 0), expected="PAR1", found="none")
    with _errors(file, "the Parquet file"):
        import pyarrow.parquet

        # one thread: its errors come out one way, and small files do not wait for a pool
        source = pyarrow.parquet.ParquetFile(
            pa.BufferReader(pa.py_buffer(file.map)),
            thrift_string_size_limit=max(1 << 16, min(file.size, 1 << 27)),
            thrift_container_size_limit=max(1 << 12, min(file.size, 1 << 24)),
        )
        table = _Table(file, pa, source.schema_arrow, scratch)
        rows = source.metadata.num_rows
        _refuse_bomb(file, sum(_unpacked_bytes(source.metadata)), rows)
        table.begin(rows)
        step = max(1, BLOCK // max(1, table.dim or 64))
        for batch in source.iter_batches(batch_size=step, columns=table.columns, use_threads=False):
            file.check()
            table.take(batch)
            del batch
            if file.size > RowTarget.SCRATCH:  # pages that were read stay in the system's cache only
                file.advise("DONTNEED")
    return table.embeddings(PARQUET)


def _unpacked_bytes(metadata: Any) -> Iterator[int]:
    for i in range(metadata.num_row_groups):
        yield max(0, metadata.row_group(i).total_byte_size)


def _refuse_bomb(file: MappedFile, size: int, rows: int) -> None:
    need = max(size, 8 * rows)
    if rows < 0 or (need > FREE and need > RATIO * file.size):
        raise FormatError(
            file.path,
            "the table says that it unpacks to far more than vectors can",
            offset=0,
            expected=f"at most {RATIO} times {file.size} bytes",
            found=f"{rows} rows, {size} bytes",
        )


def read_arrow(file: MappedFile, scratch: str | bool = False) -> Embeddings:
    """Open an Arrow IPC file; its vectors stay where they are if they are float32, of fixed size and not packed.

    scratch: a folder (True: the one for temporary files) where other large vectors go to a nameless file.
    """
    pa = _pyarrow()
    why = detect_arrow(file)
    if why is not None:
        raise FormatError(file.path, why, offset=0, expected="ARROW1", found=repr(file.map[:8]))
    with _errors(file, "the Arrow file"):
        source = pa.ipc.open_file(pa.py_buffer(file.map))
        table = _Table(file, pa, source.schema, scratch)
        batches = []
        for i in range(source.num_record_batches):
            batch = source.get_batch(i)
            _refuse_bomb(file, 0, batch.num_rows)
            _refuse_bomb(file, batch.get_total_buffer_size(), batch.num_rows)
            batch.validate(full=True)
            batches.append(batch)
        rows = sum(batch.num_rows for batch in batches)
        _refuse_bomb(file, 0, rows)
        table.begin(rows, in_place=True)
        for batch in batches:
            file.check()
            table.take(batch)
    return table.embeddings(ARROW)


class _Table:
    """What the columns mean, and what was taken of them so far."""

    def __init__(self, file: MappedFile, pa: Any, schema: Any, scratch: str | bool) -> None:
        self.file, self.pa, self.schema, self.scratch = file, pa, schema, scratch
        self.word = self.choose(self.is_text, WORD_NAMES, "text or bytes, for the words")
        self.vector: str | None = None
        self.numbers: list[str] = []
        lists = [name for name, kind in self.fields() if self.is_list(kind)]
        if lists:
            self.vector = self.choose(self.is_list, VECTOR_NAMES, "lists of float numbers, for the vectors")
            kind = schema.field(self.vector).type
            self.dim = kind.list_size if pa.types.is_fixed_size_list(kind) else 0
            value = kind.value_type
        else:
            self.numbers = [name for name, kind in self.fields() if pa.types.is_floating(kind)]
            if not self.numbers:
                raise self.wrong("no column holds vectors", "lists of float numbers, or float columns")
            self.dim = len(self.numbers)
            value = None
            if all(pa.types.is_float16(schema.field(name).type) for name in self.numbers):
                value = pa.float16()
        half = value is not None and pa.types.is_float16(value)
        self.dtype = np.dtype(np.float16 if half else np.float32)
        self.single = value is not None and pa.types.is_float32(value)
        found = [name for name, kind in self.fields() if pa.types.is_integer(kind)]
        self.count = next((name for name in COUNT_NAMES if name in found), None)

    @property
    def columns(self) -> list[str]:
        vectors = [self.vector] if self.vector is not None else self.numbers
        return [self.word, *vectors, *([self.count] if self.count else [])]

    def fields(self) -> list[tuple[str, Any]]:
        names = [field.name for field in self.schema]
        return [(field.name, field.type) for field in self.schema if names.count(field.name) == 1]

    def is_text(self, kind: Any) -> bool:
        types = self.pa.types
        if types.is_dictionary(kind):
            kind = kind.value_type
        return bool(
            types.is_string(kind)
            or types.is_large_string(kind)
            or types.is_binary(kind)
            or types.is_large_binary(kind)
            or self.is_view(kind)
        )

    def is_view(self, kind: Any) -> bool:
        """Say whether these are views of text or bytes, as polars writes them (pyarrow knows them since 16)."""
        tests = (getattr(self.pa.types, name, None) for name in ("is_string_view", "is_binary_view"))
        return any(test is not None and test(kind) for test in tests)

    def is_list(self, kind: Any) -> bool:
        types = self.pa.types
        listed = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        return bool(listed and types.is_floating(kind.value_type))

    def choose(self, fits: Any, names: tuple[str, ...], what: str) -> str:
        """Return the name of the column that fits: one of the usual names, or the only one."""
        there = [name for name, kind in self.fields() if fits(kind)]
        for name in names:
            if name in there:
                return name
        if len(there) == 1:
            return there[0]
        raise self.wrong(
            f"{'several columns' if there else 'no column'} could hold {what}", " or ".join(names)
        )

    def wrong(self, message: str, expected: str) -> FormatError:
        there = ", ".join(f"{field.name[:40]} ({field.type})"[:80] for field in list(self.schema)[:12])
        return FormatError(self.file.path, message, offset=0, expected=expected, found=ascii(there)[1:-1])

    def begin(self, rows: int, in_place: bool = False) -> None:
        """Get ready for so many rows."""
        if rows < 1:
            raise self.wrong("the table has no rows", "at least one word")
        self.rows, self.done = rows, 0
        self.texts: list[bytes] = []
        self.lengths: list[Array] = []
        self.counts = np.empty(rows, np.int64) if self.count else None
        fixed = self.vector is not None and self.pa.types.is_fixed_size_list(
            self.schema.field(self.vector).type
        )
        self.places: Array | None = np.empty(rows, np.int64) if in_place and fixed and self.single else None
        self.whole: Array = self.file.array(np.uint8, self.file.size, 0, "the file")
        self.base = int(self.whole.__array_interface__["data"][0])
        self.values: RowTarget | None = None

    def take(self, batch: Any) -> None:
        """Take the rows of one batch, which is valid."""
        count, start = batch.num_rows, self.done
        if start + count > self.rows:
            raise self.wrong("there are more rows than the table says", f"{self.rows} rows")
        if count:
            self.take_words(batch.column(batch.schema.get_field_index(self.word)))
            self.take_vectors(batch, start, start + count)
            if self.counts is not None:
                column = batch.column(batch.schema.get_field_index(self.count))
                self.refuse_nulls(column, str(self.count))
                self.counts[start : start + count] = column.cast(self.pa.int64()).to_numpy(
                    zero_copy_only=False
                )
        self.done += count

    def refuse_nulls(self, column: Any, name: str) -> None:
        if column.null_count:
            row = self.done + int(np.flatnonzero(np.asarray(column.is_null()))[0])
            raise FormatError(
                self.file.path,
                f"row {row} of the column {ascii(name)[:60]} is null",
                offset=0,
                expected="a value in every row",
                found=f"{column.null_count} nulls in this part",
            )

    def take_words(self, column: Any) -> None:
        self.refuse_nulls(column, self.word)
        if self.pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if self.is_view(column.type):
            texts = column.to_pylist()
            column = self.pa.array(
                [text if isinstance(text, bytes) else text.encode() for text in texts], self.pa.large_binary()
            )
        column = column.cast(self.pa.large_binary())
        offsets = np.frombuffer(column.buffers()[1], np.int64)[
            column.offset : column.offset + len(column) + 1
        ]
        data = column.buffers()[2]
        self.texts.append(b"" if data is None else bytes(data[int(offsets[0]) : int(offsets[-1])]))
        self.lengths.append(np.diff(offsets))

    def take_vectors(self, batch: Any, start: int, stop: int) -> None:
        if self.vector is None:
            block = np.empty((stop - start, self.dim), self.dtype)
            for j, name in enumerate(self.numbers):
                column = batch.column(batch.schema.get_field_index(name))
                self.refuse_nulls(column, name)
                block[:, j] = _cast(column.to_numpy(zero_copy_only=False), self.dtype)
            self.target().put(start, block)
            return
        column = batch.column(batch.schema.get_field_index(self.vector))
        self.refuse_nulls(column, self.vector)
        if not self.pa.types.is_fixed_size_list(column.type):
            lengths = np.asarray(column.value_lengths())
            self.dim = self.dim or int(lengths[0])
            if not self.dim or (lengths != self.dim).any():
                row = int(np.flatnonzero(lengths != self.dim)[0]) if self.dim else 0
                raise FormatError(
                    self.file.path,
                    f"the vector in row {start + row} has another length",
                    offset=0,
                    expected=f"{self.dim or 'some'} numbers",
                    found=int(lengths[row]),
                )
        elif not self.dim:
            raise self.wrong("the vectors have no numbers", "at least one column")
        values = column.flatten()
        if values.null_count:
            raise self.wrong("a number of a vector is null", "a number")
        if len(values) != (stop - start) * self.dim:
            raise self.wrong("the vectors are not all there", f"{(stop - start) * self.dim} numbers")
        if self.places is not None:
            place = values.buffers()[1].address + 4 * values.offset - self.base
            if 0 <= place <= self.file.size - 4 * len(values):
                self.places[start:stop] = place + 4 * self.dim * np.arange(stop - start)
                return
            self.leave_place()
        rows = _cast(values.to_numpy(zero_copy_only=False), self.dtype)
        self.target().put(start, rows.reshape(-1, self.dim))

    def leave_place(self) -> None:
        """Go over to a copy: a batch is packed."""
        places, self.places = self.places, None
        assert places is not None
        earlier = Scattered(self.whole, places, self.dim)
        for start, stop in blocks(self.done, self.dim):
            self.target().put(start, earlier.block(start, stop))

    def target(self) -> RowTarget:
        if self.values is None:
            need = self.rows * self.dim * self.dtype.itemsize
            _refuse_bomb(self.file, need, self.rows)
            self.values = RowTarget(self.file, self.rows, self.dim, self.dtype, self.scratch)
        return self.values

    def embeddings(self, name: str) -> Embeddings:
        """Return the model, when all rows were taken."""
        if self.done != self.rows:
            raise self.wrong("there are fewer rows than the table says", f"{self.rows} rows, not {self.done}")
        matrix: Matrix
        file: MappedFile | MappedGroup = self.file
        if self.places is not None:
            matrix = Scattered(self.whole, self.places, self.dim)
        else:
            values, file = self.target().done()
            matrix = Float16(values) if self.dtype == np.float16 else Float32(values)
        offsets = np.zeros(self.rows + 1, np.int64)
        np.cumsum(np.concatenate(self.lengths), out=offsets[1:])
        blob = np.frombuffer(b"".join(self.texts), np.uint8)
        vocabulary = Vocabulary(self.rows, self.rows, arrays=(blob, offsets, 0), counts=self.counts)
        return Embeddings(Parts(vocabulary, matrix, name, file=file))


def _cast(values: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(dtype, copy=False)


# -- writing -------------------------------------------------------------------------------------------------------


def write_parquet(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write a Parquet file with the columns word, vector and, where they are known, count. Streaming, atomic."""
    return _write(embeddings, path, dtype, progress, PARQUET)


def write_arrow(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write an Arrow IPC file with the columns word, vector and, where they are known, count. Streaming, atomic."""
    return _write(embeddings, path, dtype, progress, ARROW)


def _write(
    e: Embeddings, path: str | os.PathLike[str], dtype: str | None, progress: Progress | None, name: str
) -> Written:
    pa = _pyarrow()
    chosen = _dtype(e, dtype)
    if not len(e):
        raise UnsupportedError(f"{os.fsdecode(path)}: a table without words cannot be read again")
    text = pa.string() if _all_utf8(e) else pa.binary()
    number = pa.float16() if chosen == "float16" else pa.float32()
    fields = [pa.field("word", text, nullable=False)]
    fields.append(pa.field("vector", pa.list_(number, e.dim), nullable=False))
    counts = e.counts
    if counts is not None:
        fields.append(pa.field("count", pa.int64(), nullable=False))
    schema = pa.schema(fields)
    with atomic_write(path) as stream, _writer(pa, stream, schema, name) as writer:
        for start, stop, rows in vector_blocks(e, progress):
            with np.errstate(over="ignore"):
                flat = np.ascontiguousarray(rows, chosen).reshape(-1)
            columns = [
                pa.array(e._vocabulary.entries(start, stop), pa.binary()).cast(text),
                pa.FixedSizeListArray.from_arrays(pa.array(flat, number, from_pandas=False), e.dim),
            ]
            if counts is not None:
                columns.append(pa.array(np.asarray(counts[start:stop], np.int64)))
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return Written(chosen)


def _writer(pa: Any, stream: Any, schema: Any, name: str) -> Any:
    if name == ARROW:
        return pa.ipc.new_file(stream, schema)
    import pyarrow.parquet

    compression = {field.name: "zstd" for field in schema}
    compression.pop("vector")
    compression["vector.list.element"] = "none"
    return pyarrow.parquet.ParquetWriter(
        stream, schema, compression=compression, use_dictionary=False, write_statistics=["word"]
    )


def _all_utf8(e: Embeddings) -> bool:
    for start in range(0, len(e), 1 << 15):
        try:
            for word in e._vocabulary.entries(start, min(start + (1 << 15), len(e))):
                word.decode("utf-8")
        except UnicodeDecodeError:
            return False
    return True


def _dtype(e: Embeddings, dtype: str | None) -> str:
    """Return the dtype that is written: float16 stays float16."""
    return e.dtype if dtype is None and e.dtype in DTYPES else plain_dtype(dtype, DTYPES)


def fate(e: Embeddings, dtype: str | None, options: Mapping[str, Any]) -> Fate:
    """Return what the file will keep, round and lose."""
    return common_fate(e, _dtype(e, dtype), [COUNTS])


FORMAT = Format(PARQUET, (".parquet",), detect_parquet, read_parquet, write_parquet, fate=fate)
IPC = Format(ARROW, (".arrow", ".feather"), detect_arrow, read_arrow, write_arrow, fate=fate)
