"""That a panel can be read: every control has a name, nothing is cut off, every text stands out from its ground."""

from playwright.sync_api import Locator

SECONDS = 15


def find_nothing(panel: Locator, *checks: str) -> None:
    """Fail where a check finds something, once the page has come to rest: a busy machine takes a while to lay out."""
    for check in checks:
        found: list[str] = []
        for _ in range(4 * SECONDS):
            found = panel.evaluate(check)
            if not found:
                break
            panel.page.wait_for_timeout(250)
        assert found == []


def check_look(panel: Locator) -> None:
    """The three checks of every panel."""
    from test_bench_looks import CONTRAST, CUT_OFF, NAMELESS

    find_nothing(panel, NAMELESS, CUT_OFF, CONTRAST)
