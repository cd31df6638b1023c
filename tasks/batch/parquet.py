"""Parquet, where the optional package pyarrow is installed; imported when it is first needed."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from tasks.batch.rows import InputError

ROWS_AT_ONCE = 1024


def require_pyarrow(path: Path) -> None:
    """Insist on the package that reads and writes Parquet.

    Raises:
        InputError: It is not installed.
    """
    if find_spec("pyarrow") is None:
        raise InputError(
            f"{path} is Parquet, for which pyarrow is needed; "
            "install it with `.venv/bin/pip install -r requirements/parquet.txt`"
        )


def read_parquet(path: Path) -> Iterator[Mapping[str, object]]:
    """Yield the records of a Parquet file, some of them in memory at a time.

    Raises:
        InputError: pyarrow is not installed, or the file is no Parquet.
    """
    require_pyarrow(path)
    import pyarrow as pa  # noqa: PLC0415 - optional
    import pyarrow.parquet as pq  # noqa: PLC0415 - optional

    try:
        with pq.ParquetFile(str(path)) as file:
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} is no Parquet file that can be read: {error}") from error
