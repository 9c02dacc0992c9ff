"""That a panel can be read: every control has a name, nothing is cut off, every text stands out from its ground."""

from playwright.sync_api import Locator
from test_bench_looks import CONTRAST, CUT_OFF, NAMELESS

SECONDS = 10


def check_look(panel: Locator) -> None:
    """Fail where it is not so, once the page has come to rest: a busy machine takes a while to lay out anew."""
    for check in (NAMELESS, CUT_OFF, CONTRAST):
        found: list[str] = []
        for _ in range(4 * SECONDS):
            found = panel.evaluate(check)
            if not found:
                break
            panel.page.wait_for_timeout(250)
        assert found == []
