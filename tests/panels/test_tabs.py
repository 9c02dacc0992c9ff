"""Panels are made when they are first looked at, and one that fails says why in its tab."""

import ipywidgets as widgets

from convlab.panels.tabs import Tabs


def test_only_what_is_looked_at_is_made_and_once():
    made = []

    def maker(name):
        def make():
            made.append(name)
            return widgets.Label(name)

        return make

    tabs = Tabs({name: maker(name) for name in ("a", "b", "c")})
    assert (made, tabs.titles) == (["a"], ("a", "b", "c"))
    tabs.selected_index = 2
    tabs.selected_index = 0
    tabs.selected_index = 2
    assert made == ["a", "c"]
    assert tabs.show("b").value == "b"
    assert tabs.show("b") is tabs.children[1].children[0]
    assert (made, tabs.selected_index) == (["a", "c", "b"], 1)


def test_no_tab_at_all_is_no_error():
    tabs = Tabs({"a": lambda: widgets.Label("a")})
    tabs.selected_index = None
    assert len(tabs.children[0].children) == 1


def test_one_that_fails_leaves_its_sentence_escaped_and_the_others_work():
    def fail():
        raise ValueError("no <img src=x onerror=alert(1)> here")

    tabs = Tabs({"a": lambda: widgets.Label("a"), "b": fail, "c": lambda: widgets.Label("c")})
    tabs.selected_index = 1
    assert "no &lt;img src=x" in tabs.children[1].children[0].value
    assert tabs.show("c").value == "c"
