"""Tables of numbers on the page, read by Node: every value in its place, or a refusal that names the line."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

NODE = shutil.which("node")
SOURCE = Path(__file__).parents[2] / "export" / "web" / "src" / "csv.js"
RUN = """
import { readFileSync } from "node:fs";
const { readCsv, decodeText } = await import(process.argv[1]);
for (const [text, options] of JSON.parse(readFileSync(0, "utf8"))) {
  let made;
  try { made = readCsv(decodeText(Uint8Array.from(text)), options); made.values = [...made.values].map(String); }
  catch (error) { made = { error: error.message }; }
  console.log(JSON.stringify(made));
}
"""

pytestmark = pytest.mark.skipif(NODE is None, reason="Node.js is not installed.")

TABLE = [[1.5, -2.25], [3, 4.125], [-0.5, 6e-3]]
POINTS = "1.5{s}-2.25\n3{s}4.125\n-0.5{s}6e-3\n"
COMMAS = "1,5{s}-2,25\n3{s}4,125\n-0,5{s}6e-3\n"
INDEXED = "{head}0{s}1.5{s}-2.25\n1{s}3{s}4.125\n2{s}-0.5{s}6e-3\n"
ONE, GAPS = {"channels": 1}, {"gaps": True}

READ = {
    "commas": (POINTS.format(s=","), {}), "comma and space": (POINTS.format(s=", "), {}),
    "semicolons": (POINTS.format(s=";"), {}), "tabs": (POINTS.format(s="\t"), {}),
    "spaces": (POINTS.format(s="   "), {}), "bars": (POINTS.format(s="|"), {}),
    "decimal commas, semicolons": (COMMAS.format(s=";"), {}), "decimal commas, tabs": (COMMAS.format(s="\t"), {}),
    "decimal commas, spaces": (COMMAS.format(s=" "), {}),
    "decimal commas in quotes": ('"1,5","-2,25"\n3,"4,125"\n"-0,5",6e-3\n', {}),
    "CRLF and blank ends": ("\r\n" + POINTS.format(s=",").replace("\n", "\r\n") + "\r\n  \r\n", {}),
    "byte order mark": ("\ufeff" + POINTS.format(s=","), {}),
    "no last line end": (POINTS.format(s=",").rstrip(), {}),
    "trailing separators": (POINTS.format(s=",").replace("\n", ",\n"), {}),
    "trailing semicolons": ("a;b;\n" + COMMAS.format(s=";").replace("\n", ";\n"), {}),
    "sep=": ("sep=;\r\n" + COMMAS.format(s=";"), {}), "comments": ("# written by savetxt\n" + POINTS.format(s=" "), {}),
    "names": ("left,right\n" + POINTS.format(s=","), {}), "names in quotes": ('"a;x";"b"\n' + COMMAS.format(s=";"), {}),
    "names and units": ("left,right\nuV,uV\n" + POINTS.format(s=","), {}),
    "numbered names": ("ch1,2\n" + POINTS.format(s=","), {}),
    "pandas": (INDEXED.format(s=",", head=",left,right\n"), {}),
    "pandas, numbered": (INDEXED.format(s=",", head=",0,1\n"), {}),
    "pandas, numbers as names": (INDEXED.format(s=";", head=";17;18\n"), {}),
    "pandas, named": (INDEXED.format(s=",", head="Unnamed: 0,0,1\n"), {}),
    "R": (INDEXED.format(s=" ", head='"left" "right"\n'), {}),
    "a count alone": (INDEXED.format(s=";", head=""), {}),
    "a count from 1": ("1;1,5;-2,25\n2;3;4,125\n3;-0,5;6e-3\n", {}),
    "times": ("time (s),a,b\n0,1.5,-2.25\n0.0000333,3,4.125\n0.0000667,-0.5,6e-3\n", {}),
    "times without a name": ("0.0,1.5,-2.25\n0.0000333,3,4.125\n0.0000667,-0.5,6e-3\n", {"channels": 2}),
    "rounded times": ("time (s);a;b\n0,000;1,5;-2,25\n0,000;3;4,125\n0,001;-0,5;6e-3\n", {}),
    "rounded times without a name": ("0.000 1.5 -2.25\n0.000 3 4.125\n0.001 -0.5 6e-3\n", {"channels": 2}),
    "times of day": ("2024-01-01 10:00:00.1,1.5,-2.25\n2024-01-01 10:00:00.2,3,4.125\n2024-01-01 10:00:00.3,-.5,6e-3\n",
                     {}),
}
READ_OTHER = {
    "one column": ("1.5\n-2\n3e2\n", {}, [[1.5], [-2], [300]]),
    "one column of decimal commas": ("1,5\n-0,25\n3\n2,05\n", ONE, [[1.5], [-0.25], [3], [2.05]]),
    "one column of decimal commas under a name": ("ch 0 (uV)\n12,5\n-0,25\n-20,75\n", ONE, [[12.5], [-0.25], [-20.75]]),
    "one column, declared": ("sep=;\n1,5\n2,25\n", ONE, [[1.5], [2.25]]),
    "one column, trailing semicolons": ("1,5;\n2,25;\n", ONE, [[1.5], [2.25]]),
    "an exponent of a decimal comma": ("1,5E-03;2\n3;4\n", {}, [[0.0015, 2], [3, 4]]),
    "three digits after a semicolon's comma": ("1,234;5\n6;7\n", {}, [[1.234, 5], [6, 7]]),
    "a gap": ("1,NaN\nNA,2\n", GAPS, [[1, np.nan], [np.nan, 2]]),
    "whole numbers under names": ("left ear,right ear\n5,7\n6,8\n", {}, [[5, 7], [6, 8]]),
    "whole numbers": ("5,7\n6,8\n", {}, [[5, 7], [6, 8]]),
    "a signal that begins with 0": ("0\n1\n5\n", ONE, [[0], [1], [5]]),
}
REFUSED = {
    "blank cell": ("1,2,3\n4,,6\n", {}, "Line 2, column 2: the cell is blank"),
    "blank first cell of all": (";2;3\n1;4;5\n2;6;7\n", {}, "Line 1, column 1: the cell is blank"),
    "blank first cell": ("1;2\n;4\n", {}, "Line 2, column 1: the cell is blank"),
    "blank last cell": ("1,2\n3,\n5,6\n", {}, "Line 2, column 2: the cell is blank"),
    "blank cell behind names and comments": ("# c\na\tb\n1\t2\n\t3\n", {}, "Line 4, column 1"),
    "a column of names and blanks": ("a,b\n1,\n2,\n", {}, "Line 2, column 2: the cell is blank"),
    "blank line": ("1\n\n3\n", {}, "Line 2 is blank"),
    "NaN": ("1,2\n3,nan\n", {}, "Line 2, column 2: the value is missing"),
    "infinite": ("1,inf\n", GAPS, "Line 1, column 2"),
    "ragged": ("1,2\n3\n", {}, "Line 2 has 1 cells, line 1 has 2. Expected one line a sample"),
    "two separators": ("1,2\n3,4\n5;6\n", {}, "Line 3"),
    "thousands": ("1.234,56;2\n3;4\n", {}, "Line 1, column 1: 1.234,56 is no number"),
    "thousands in quotes": ('"1,234","2,345"\n', {}, "no separators of thousands"),
    "thousands by apostrophes": ("1;2\n1'234;5\n", {}, "Line 2, column 1"),
    "text": ("1,2\nx,4\n", {}, "Line 2, column 1: x is no number"),
    "a misspelt first line": ("1.5x,2\n3,4\n", {}, "Line 1, column 1: 1.5x is no number"),
    "times that do not rise": ("time,a\n3,1\n1,2\n", {}, "does not rise"),
    "an open quote": ('1,"2\n3,4\n', {}, "Line 1: a quotation mark"),
    "names alone": ("a,b\n", {}, "holds names and no numbers"), "nothing": ("\n", {}, "holds no numbers"),
}


@pytest.fixture(scope="module")
def answers():
    """What the page's reader gives for all texts, by one process."""
    cases = {**READ, **READ_OTHER, **REFUSED}
    texts = [(list(text.encode()), options) for text, options, *_ in cases.values()]
    texts += [(list(("\ufeff" + COMMAS.format(s="\t")).encode("utf-16-le")), {})]
    done = subprocess.run([NODE, "--input-type=module", "-e", RUN, SOURCE.as_uri()], input=json.dumps(texts), text=True,
                          capture_output=True, check=True, timeout=60)
    return dict(zip([*cases, "UTF-16"], map(json.loads, done.stdout.splitlines()), strict=True))


def values(answer):
    assert "error" not in answer, answer
    return np.array(answer["values"], np.float64).reshape(answer["shape"])


@pytest.mark.parametrize("name", [*READ, "UTF-16"])
def test_a_table_is_read_with_every_value_in_its_place(answers, name):
    np.testing.assert_allclose(values(answers[name]), TABLE, rtol=1e-6)


@pytest.mark.parametrize("name", READ_OTHER)
def test_other_tables_are_read(answers, name):
    np.testing.assert_allclose(values(answers[name]), READ_OTHER[name][2], rtol=1e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_certain_is_refused_with_its_line(answers, name):
    assert REFUSED[name][2] in answers[name]["error"]


def test_what_was_left_out_is_noted(answers):
    assert answers["pandas"]["notes"] == ["line 1: names", "the first column counts or gives times: left out"]
    assert answers["commas"]["notes"] == [] and "commas are decimal signs" in answers["sep="]["notes"]
