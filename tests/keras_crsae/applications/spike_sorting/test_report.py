"""The HTML report of a sorting."""

import base64
import dataclasses
import io
import re

import pytest

pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")

from keras_crsae.applications.spike_sorting.report import write_report  # noqa: E402


def test_the_page_is_complete_and_self_contained(sorted_spikes, tmp_path):
    from matplotlib.image import imread

    recording, _, result = sorted_spikes
    escaped = dataclasses.replace(result, messages=["<script>alert(1)</script>"])
    write_report(escaped, tmp_path / "report.html", recording)
    page = (tmp_path / "report.html").read_text()
    for word in ("Templates", "Waveforms", "Autocorrelograms", "Cross-correlograms", "Raster", "mixed up", "±",
                 "Amplitude over time", "Inter-spike intervals", "Residual spectrum", "Code maxima", "Training",
                 "learning_seconds", "common_reference", f"{len(result.spike_samples)} spikes"):
        assert word in page
    assert "<script>alert" not in page and "&lt;script&gt;" in page and page.count("<script>") == 1
    links = re.findall(r'href="#([^"]*)"', page)
    assert len(links) == 13 and all(page.count(f'id="{link}"') == 1 for link in links)
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 10 and "://" not in page and all(s.startswith("data:image/png;base64,") for s in sources)
    for source in sources:
        picture = imread(io.BytesIO(base64.b64decode(source.split(",")[1])))
        assert picture[..., :3].std() > 0.01  # not blank


def test_another_recording_is_refused(sorted_spikes, tmp_path):
    recording, _, result = sorted_spikes
    with pytest.raises(ValueError, match="was sorted"):
        write_report(result, tmp_path / "report.html", recording[:-1])
    assert not (tmp_path / "report.html").exists()
