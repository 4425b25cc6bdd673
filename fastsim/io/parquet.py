"""The Parquet door: our own columns, with unit and meaning of each in the schema, provenance beside it.

Floats are split into streams of bytes, of equal places (BYTE_STREAM_SPLIT), which compresses physics better than values do;
integers of few values go through a dictionary. Measured in docs/outputs.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.errors import InputError, UsageError
from fastsim.events import offsets_from_counts
from fastsim.io.columnar import (
    COLUMNS,
    ColumnarWriter,
    Counts,
    Group,
    by_table,
    described,
    list_name,
    needs,
    units,
    written_dtype,
)
from fastsim.io.rootio import PartialFile, errors_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastsim.cards.schema import Output
    from fastsim.columns import Column, Table

__all__ = ["needs", "open_writer", "read_groups", "shape", "texts", "units"]


def open_writer(path: Path, output: Output, devices: Sequence[Column] = ()) -> ParquetWriter:
    """A new Parquet file."""
    del devices  # all columns are written
    return ParquetWriter(path, output)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # noqa: PLC0415  (optional, and 0.2 s)
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise UsageError("Parquet needs pyarrow", hint="pip install 'fastsim[parquet]'") from None
    return pa, pq


class ParquetWriter(ColumnarWriter):
    """Writes a Parquet file; a group is a row group."""

    def __init__(self, path: Path, output: Output) -> None:
        super().__init__(output)
        self._pa, self._pq = _pyarrow()
        self._file = PartialFile(path)
        self._schema: Any = None
        self._writer: Any = None
        self._has_rows = False

    def begin(self, columns: Sequence[Column]) -> None:
        """Declare the columns."""
        self._schema = self._schema_of(by_table(columns))
        level = self._output.compression_level
        with errors_of(self._file.path):
            self._writer = self._pq.ParquetWriter(
                self._file.stream, self._schema, compression="zstd" if level else "none", compression_level=level or None,
                use_byte_stream_split=[_path(column) for column in columns if written_dtype(column).kind == "f"],
                use_dictionary=[_path(column) for column in columns if written_dtype(column).kind in "iu"],
            )  # fmt: skip

    def put(self, group: Group) -> None:
        """Write a row group."""
        pa = self._pa
        arrays = []
        for table, columns in by_table(group.columns).items():
            values = [self._array(column, group.columns[column]) for column in columns]
            if table == "event":
                arrays += values
            else:
                kind = self._schema.field(list_name(table)).type
                inside = pa.StructArray.from_arrays(values, fields=list(kind.value_type))
                offsets = pa.array(offsets_from_counts(group.counts[table]).astype(np.int32))
                arrays.append(pa.ListArray.from_arrays(offsets, inside, type=kind))
        with errors_of(self._file.path):
            self._writer.write_table(pa.table(arrays, schema=self._schema), row_group_size=max(group.n_events, 1))
        self._has_rows = True

    def finish(self, texts: Mapping[str, str]) -> None:
        """Write the texts beside the schema."""
        with errors_of(self._file.path):
            if not self._has_rows:  # a row group without rows: awkward does not read a file without any
                self._writer.write_table(self._schema.empty_table())
            self._writer.add_key_value_metadata(dict(texts))
            self._writer.close()
        self._file.keep()

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._writer is not None:
            self._writer.is_open = False  # else its end writes to the closed file, and complains
        self._file.discard()

    def _schema_of(self, tables: dict[Table, list[Column]]) -> Any:
        pa = self._pa
        fields = []
        for table, columns in tables.items():
            own = [self._field(column) for column in columns]
            if table == "event":
                fields += own
            else:
                inside = pa.field("element", pa.struct(own), nullable=False)
                fields.append(pa.field(list_name(table), pa.list_(inside), nullable=False))
        return pa.schema(fields)

    def _field(self, column: Column) -> Any:
        """Name, type, unit and meaning."""
        pa = self._pa
        kind = pa.from_numpy_dtype(written_dtype(column))
        if column.shape:
            kind = pa.list_(pa.field("element", kind, nullable=False), int(np.prod(column.shape)))
        return pa.field(column.name, kind, nullable=False, metadata={"unit": column.unit, "doc": column.doc})

    def _array(self, column: Column, values: NDArray[Any]) -> Any:
        pa = self._pa
        if not column.shape:
            return pa.array(values)
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=self._field(column).type)


def _path(column: Column) -> str:
    """Path of a column's numbers in the Parquet file."""
    path = column.name if column.table == "event" else f"{list_name(column.table)}.list.element.{column.name}"
    return f"{path}.list.element" if column.shape else path


def _open(path: Path) -> Any:
    pa, pq = _pyarrow()
    try:
        return pq.ParquetFile(pa.OSFile(str(path)))  # a plain path with a colon would be taken for a URI
    except (OSError, pa.ArrowException) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> InputError:
    return InputError(f"not a whole Parquet file ({type(error).__name__}: {error})", where=str(path))


def texts(path: Path) -> dict[str, str]:
    """The texts of a file of ours; raises InputError if it is not one."""
    with _open(path) as file:
        found = file.metadata.metadata or {}
    if COLUMNS.encode() not in found:
        raise InputError("a Parquet file, but not one of fastsim", where=str(path))
    return {key.decode(): value.decode() for key, value in found.items() if key != b"ARROW:schema"}


def shape(path: Path) -> tuple[int, dict[str, str]]:
    """Number of events, and types of the columns by name; raises InputError if it is not a file of ours."""
    texts(path)
    with _open(path) as file:
        return file.metadata.num_rows, {field.name: str(field.type) for field in file.schema_arrow}


def read_groups(path: Path) -> Iterator[Group]:
    """What was written, group by group; raises InputError."""
    columns = described(texts(path)[COLUMNS], str(path))
    pa, _ = _pyarrow()
    with _open(path) as file:
        for index in range(max(file.num_row_groups, 1)):
            try:
                rows = file.read_row_group(index) if file.num_row_groups else file.schema_arrow.empty_table()
            except (OSError, pa.ArrowException) as error:
                raise _broken(path, error) from error
            yield _group(rows, columns)


def _group(rows: Any, columns: Sequence[Column]) -> Group:
    counts: Counts = {}
    values: dict[Column, NDArray[Any]] = {}
    for table, own in by_table(columns).items():
        if table == "event":
            arrays = [rows.column(column.name).combine_chunks() for column in own]
        else:
            lists = rows.column(list_name(table)).combine_chunks()
            counts[table] = np.diff(lists.offsets.to_numpy()).astype(np.int64)
            inside = lists.flatten()
            arrays = [inside.field(column.name) for column in own]
        for column, array in zip(own, arrays, strict=True):
            flat = array.flatten() if column.shape else array
            values[column] = flat.to_numpy(zero_copy_only=False).reshape(-1, *column.shape)
    return Group(rows.num_rows, counts, values)
