"""Parts of the HTML reports."""

import re

import pytest

from keras_crsae.applications import html_page


def test_text_is_escaped_everywhere(tmp_path):
    bad = "<script>"
    parts = [html_page.heading(bad), html_page.note(bad), html_page.messages([bad]), html_page.table({bad: [bad]}),
             html_page.settings({bad: bad})]
    html_page.write_page(tmp_path / "page.html", bad, bad, parts)
    page = (tmp_path / "page.html").read_text()
    assert bad not in page and page.count("&lt;script&gt;") == 10


def test_no_message_is_said():
    assert "nothing was dropped" in html_page.messages([])


def test_columns_of_a_table_have_one_length():
    with pytest.raises(ValueError):
        html_page.table({"a": ["1"], "b": []})


def test_a_picture_is_inside_the_page():
    figure = pytest.importorskip("matplotlib.figure", reason="the extra `plots` is not installed").Figure((1, 1))
    assert re.search(r'src="data:image/png;base64,\w{100}', html_page.picture("title", "note", figure))
