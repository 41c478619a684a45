"""Lines that say how far long work has come."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import within

from polymodal.runtime.progress import show_progress


@pytest.mark.parametrize("lengths", [[1], [3, 3, 3], [1] * 40, [7, 1, 0, 2, 30], [0, 5]])
def test_parts_of_unequal_size_end_at_100_percent(capsys, lengths):
    assert [*show_progress([[0] * length for length in lengths], "reading", sum(lengths), len)] == [
        [0] * n for n in lengths
    ]
    told = [int(line.split()[1]) for line in capsys.readouterr().err.splitlines()]
    assert told == sorted(set(told))
    assert told[-1] == 100
    assert len(told) <= 10


def test_nothing_to_do_says_nothing(capsys):
    assert [*show_progress([], "reading", 0)] == []
    assert [*show_progress([[]], "reading", 0, len)] == [[]]
    assert capsys.readouterr().err == ""


def test_imputing_small_groups_of_rows_ends_at_100_percent(tmp_path, monkeypatch, capsys):
    columns = {"x": [row % 9 / 2 for row in range(60)], "y": [None if row % 3 else row % 7 / 4 for row in range(60)]}
    pq.write_table(pa.table(columns), path := tmp_path / "t.parquet", row_group_size=7)
    done = within(monkeypatch, capsys, "train", path, "--folder", tmp_path / "run", "--epochs", 1)
    assert done.returncode == 0, done.stderr
    done = within(monkeypatch, capsys, "impute", tmp_path / "run", path, "--batch-size", 16)
    told = [line for line in done.stderr.splitlines() if line.startswith("imputing")]
    assert told[-1] == "imputing: 100 %"
