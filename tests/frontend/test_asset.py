import pytest

from convlab.frontend import _asset
from convlab.frontend._asset import asset
from convlab.frontend.style import Style


def test_bundles_are_where_widgets_look():
    assert "uplot" in asset("chart.css").read_text()
    assert asset("panels.js").is_file()


def test_a_missing_bundle_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(_asset, "_FRONTEND", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"lacks chart\.js: .*pip install \."):
        asset("chart.js")


def test_the_style_sheet_comes_as_a_widget_without_a_place():
    style = Style()
    assert style.layout.display == "none"
    assert ".convlab" in style.get_state()["_css"]
