"""The HTML report."""

import dataclasses
import re

import pytest

pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")

from keras_crsae.applications.neural_events.report import write_report  # noqa: E402


def test_the_page_is_complete_and_self_contained(fitted, tmp_path):
    write_report(dataclasses.replace(fitted, messages=["<script>alert(1)</script>"]), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for word in ("Raster and events", "Rate", "Kernels", "Single trials", "Residual by time", "Held-out trials",
                 "above PSTH", "hidden_share", f"{len(fitted.events)} events", "24 trials"):
        assert word in page
    assert "<script" not in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 8 and all(s.startswith("data:image/png;base64,") for s in sources)


def test_a_result_without_events_and_cross_validation_has_its_page(fitted, tmp_path):
    write_report(dataclasses.replace(fitted, events=fitted.events[:0], candidates=[], held_out=None, conditions=None),
                 tmp_path / "report.html")
    assert "0 events" in (tmp_path / "report.html").read_text()
