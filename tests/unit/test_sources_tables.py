from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumonia.errors import UserError
from pneumonia.sources.tables import read_table

WANTED = [{"file": "a,b.png", "label": "normal", "note": "ü"}, {"file": "c.png", "label": "1", "note": ""}]


@pytest.mark.parametrize(
    "text",
    [
        'file,label,note\n"a,b.png",normal,ü\nc.png,1,\n',
        "file;label;note\r\na,b.png; normal ;ü\r\n\r\nc.png;1;\r\n",
        "\ufeffFile\tLABEL\tnote\na,b.png\tnormal\tü\nc.png\t1\t",
    ],
)
def test_tables_as_people_save_them(text: str) -> None:
    assert read_table(text.encode(), "labels.csv", ("file", "label")) == WANTED


@pytest.mark.parametrize(
    "text",
    [
        "file;label;;\na;0;;\nb;1;;\n",
        "file;label;;\na;0\nb;1; ;\n",  # Excel leaves out the ends of lines where 16 have nothing there
        "file;label\na;0;;\nb;1\n",
        ";file;;label\n;a;;0\n;b;;1\n",
    ],
)
def test_columns_without_name_and_cells_are_none(text: str) -> None:
    rows = [{"file": "a", "label": "0"}, {"file": "b", "label": "1"}]
    assert read_table(text.encode(), "t", ("file", "label")) == rows


def test_row_numbers_need_no_name() -> None:
    rows = read_table(b",file,label\n0,a,1\n", "t", ("file", "label"))
    assert rows == [{"": "0", "file": "a", "label": "1"}]


def test_optional_columns_are_found_as_required_ones_are() -> None:
    (row,) = read_table(b"FILE, Patient ,Note\na,p,x\n", "t", ("file",), ("patient", "split"))
    assert row == {"file": "a", "patient": "p", "Note": "x"}


def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    assert read_table(b"\xef\xbb\xbffile,label\na,0", "t", ("file", "label")) == [{"file": "a", "label": "0"}]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "t.csv lacks the columns file, label; its first line has nothing."),
        (b"name,label\n", "t.csv lacks the column file; its first line has name, label."),
        (b"file,label,label\n", "t.csv has a column twice"),
        (b"file,label,Label\n", "t.csv has a column twice"),
        (
            b"file;label;;\na;0;;\nb;1;p7;\n",
            "t.csv, line 3, has a cell in the column after label, which has no name in the first line",
        ),
        (b";;\na;0;\n", "t.csv lacks the columns file, label"),
        (b"file,label\na,b,c\n", "t.csv, line 2, has 3 cells; the header has 2."),
        (b"file,label\na\n", "t.csv, line 2, has 1 cells"),
        (b"\xff\xfe\x00", "t.csv is not text in UTF-8"),
        (b'file,label\n"a,b', "t.csv is not a table of comma-separated values"),
    ],
)
def test_what_is_wrong_is_said(content: bytes, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        read_table(content, "t.csv", ("file", "label"))
    assert str(caught.value).startswith(sentence)


VALID = 'file;label;note\n"a;b.png";normal;\u00fc\nc.png;1;\n'.encode()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(VALID)), st.binary(max_size=6), st.integers(0, 6), st.booleans())
def test_damaged_tables_are_read_or_refused(place: int, put: bytes, dropped: int, cut: bool) -> None:
    damaged = VALID[:place] + put + (b"" if cut else VALID[place + dropped :])
    with suppress(UserError):
        for row in read_table(damaged, "t.csv", ("file", "label")):
            assert row.keys() >= {"file", "label"}
