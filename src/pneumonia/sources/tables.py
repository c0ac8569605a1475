"""Tables that people send: comma, semicolon or tab, with or without a byte order mark."""

import csv
import io

from pneumonia.errors import UserError


def read_table(
    content: bytes, name: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> list[dict[str, str]]:
    """Read a table with a header line; cells are text without blanks around it.

    Args:
        content: the file, UTF-8.
        name: of the file, for messages.
        required: columns that must be there; names of columns are compared without regard to case.
        optional: columns that may be there, compared likewise; others keep their names.

    Returns:
        A row a line, each with all columns of the header; columns without a name and without a cell are
        dropped. The first column may have no name: that of row numbers has none.

    Raises:
        UserError: it is no such table, lacks a column or has one twice, has cells below no name, or a line
            has more or fewer cells than the header.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{name} is not text in UTF-8; save it as CSV in UTF-8.") from None
    first_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=first_line.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UserError(f"{name} is not a table of comma-separated values: {error}.") from None
    header, *body = _without_empty_columns(lines) or [[]]
    columns = [_canonical(column, required + optional) for column in header]
    missing = [column for column in required if column not in columns]
    if missing:
        raise UserError(
            f"{name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; its first line has "
            f"{', '.join(columns) or 'nothing'}."
        )
    _require_names(columns, body, name)
    if len(set(columns)) < len(columns):
        raise UserError(f"{name} has a column twice; its first line is {', '.join(columns)}.")
    rows = []
    for number, cells in enumerate(body, start=2):
        if not any(cells):
            continue
        if len(cells) != len(columns):
            raise UserError(f"{name}, line {number}, has {len(cells)} cells; the header has {len(columns)}.")
        rows.append(dict(zip(columns, cells, strict=True)))
    return rows


def _without_empty_columns(lines: list[list[str]]) -> list[list[str]]:
    """The lines without the columns that hold nothing, as Excel adds them; no blanks around cells."""
    stripped = [[cell.strip() for cell in line] for line in lines]
    used = {place for line in stripped for place, cell in enumerate(line) if cell}
    return [[cell for place, cell in enumerate(line) if place in used] for line in stripped]


def _require_names(columns: list[str], body: list[list[str]], name: str) -> None:
    """Refuse cells in a column that has no name; pandas and R give none to their row numbers."""
    for place, column in enumerate(columns):
        if place and not column:
            number = next(n for n, cells in enumerate(body, start=2) if any(cells[place : place + 1]))
            raise UserError(
                f"{name}, line {number}, has a cell in the column after {columns[place - 1]}, which has no "
                "name in the first line; give it a name, or empty it."
            )


def _canonical(column: str, known: tuple[str, ...]) -> str:
    if column in known:
        return column
    return next((name for name in known if name.lower() == column.lower()), column)
