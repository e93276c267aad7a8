"""Tables of spikes give back what was written, bit for bit."""

import io

import numpy as np
import pytest
from crsae_onnx.core.spikes.csv_table import COLUMNS, read_table, write_header, write_rows
from crsae_onnx.core.spikes.detector import Spikes


def write(path, spikes, rate=30_000.0):
    with open(path, "w", encoding="utf-8", newline="") as file:
        write_header(file)
        write_rows(file, spikes, rate)


def test_a_table_is_read_back_bit_for_bit(tmp_path, rng):
    samples = np.sort(rng.integers(0, 2**40, 500))
    spikes = Spikes(samples, rng.integers(0, 9, 500), (rng.normal(size=500) * 10.0 ** rng.integers(-9, 9, 500)
                                                       ).astype(np.float32))
    write(tmp_path / "s.csv", spikes)
    again = read_table(tmp_path / "s.csv")
    for a, b in zip(spikes, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [v.dtype for v in again] == [np.int64, np.int64, np.float32]


def test_times_are_seconds_and_no_spikes_are_an_empty_table(tmp_path):
    file = io.StringIO()
    write_rows(file, Spikes(np.array([45]), np.array([2]), np.array([0.5], np.float32)), 30.0)
    assert file.getvalue() == "1.5000000,2,0.5,45\n"
    write(tmp_path / "s.csv", Spikes(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)))
    assert (tmp_path / "s.csv").read_text() == ",".join(COLUMNS) + "\n"
    assert len(read_table(tmp_path / "s.csv").peak_sample) == 0


@pytest.mark.parametrize("text, words", [
    ("", "starts with None"), ("a,b\n", r"starts with \['a', 'b'\]. Expected the columns time_s,unit"),
    ("time_s,unit,amplitude,sample\n0.1,1,2\n", "line 2: '0.1,1,2' is no spike"),
    ("time_s,unit,amplitude,sample\n0.1,1,2,3\n0.1,one,2,3\n", "line 3")])
def test_other_tables_are_refused_with_their_line(tmp_path, text, words):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_table(tmp_path / "s.csv")
