"""Parts of the HTML reports."""

import re

import pytest

from keras_crsae.applications import html_page


def test_text_is_escaped_everywhere(tmp_path):
    bad = "<script>"
    parts = [html_page.heading(bad), html_page.note(bad), html_page.messages([bad]), html_page.table({bad: [bad]}),
             html_page.settings({bad: bad}), html_page.contents([bad])]
    html_page.write_page(tmp_path / "page.html", bad, bad, parts)
    page = (tmp_path / "page.html").read_text()
    assert bad not in page and page.count("&lt;script&gt;") == 11


def test_no_message_is_said():
    assert "nothing was dropped" in html_page.messages([])


def test_columns_of_a_table_have_one_length():
    with pytest.raises(ValueError):
        html_page.table({"a": ["1"], "b": []})


def test_a_picture_is_inside_the_page():
    figure = pytest.importorskip("matplotlib.figure", reason="the extra `plots` is not installed").Figure((1, 1))
    assert re.search(r'src="data:image/png;base64,\w{100}', html_page.picture("title", "note", figure))


def test_links_lead_to_their_headings():
    titles = ["Messages", "Inter-spike intervals", "Größe < 1"]
    for title, link in zip(titles, re.findall(r'href="#([^"]*)"', html_page.contents(titles)), strict=True):
        assert f'id="{link}"' in html_page.heading(title)


def test_a_sortable_table_is_escaped_and_brings_its_own_script():
    text = html_page.sortable_table({"<b>": ["<i>", "2"]})
    assert "<b>" not in text and "<i>" not in text and text.count("<script>") == 1 and text.count("<tr>") == 3
    with pytest.raises(ValueError):
        html_page.sortable_table({"a": ["1"], "b": []})


def test_pages_are_readable_in_the_dark(tmp_path):
    html_page.write_page(tmp_path / "page.html", "a", "b", [])
    assert "prefers-color-scheme: dark" in (tmp_path / "page.html").read_text()
