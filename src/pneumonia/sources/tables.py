"""Tables that people send: comma, semicolon or tab, with or without a byte order mark."""

import csv
import io

from pneumonia.errors import UserError


def read_table(content: bytes, name: str, required: tuple[str, ...]) -> list[dict[str, str]]:
    """Read a table with a header line; cells are text without blanks around it.

    Args:
        content: the file, UTF-8.
        name: of the file, for messages.
        required: columns that must be there; names of columns are compared without regard to case when
            the exact name is missing.

    Returns:
        A row a line, each with all columns of the header.

    Raises:
        UserError: it is no such table, lacks a column, or a line has more or fewer cells than the header.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{name} is not text in UTF-8; save it as CSV in UTF-8.") from None
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UserError(f"{name} is not a table of comma-separated values: {error}.") from None
    columns = [_canonical(column.strip(), required) for column in lines[0]] if lines else []
    missing = [column for column in required if column not in columns]
    if missing:
        raise UserError(
            f"{name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; its first line has "
            f"{', '.join(columns) or 'nothing'}."
        )
    if len(set(columns)) < len(columns):
        raise UserError(f"{name} has a column twice; its first line is {', '.join(columns)}.")
    rows = []
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            raise UserError(f"{name}, line {number}, has {len(cells)} cells; the header has {len(columns)}.")
        rows.append(dict(zip(columns, (cell.strip() for cell in cells), strict=True)))
    return rows


def _canonical(column: str, required: tuple[str, ...]) -> str:
    if column in required:
        return column
    return next((name for name in required if name.lower() == column.lower()), column)
