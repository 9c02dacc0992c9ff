#!/usr/bin/env bash
# Sees to it that the browser tests find a Chromium: one on the PATH, else Playwright's own build, else Debian's package.
# Usage: tools/chromium.sh PYTHON, a Python with playwright.
set -euo pipefail
python=$1

on_path() {
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" && return 0
    done
    return 1
}

# Started and closed, not only present: a build may lack libraries of the system.
playwright_has_one() {
    "$python" - <<'EOF' 2>/dev/null
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    playwright.chromium.launch(args=["--no-sandbox"]).close()
    print(playwright.chromium.executable_path)
EOF
}

from_debian() {
    command -v apt-get >/dev/null || return 1
    local root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo --non-interactive)
    "${root[@]}" apt-get update -qq && "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium
}

on_path && exit 0
playwright_has_one && exit 0
echo "No Chromium yet: trying Playwright's build" >&2
PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT=15000 "$python" -m playwright install chromium >/dev/null 2>&1 || true
playwright_has_one && exit 0
echo "It cannot be had or does not start; trying Debian's package" >&2
from_debian >&2 || true
on_path && exit 0
echo "The browser tests need Chromium: install it so that 'chromium' is on the PATH, and run make test again" >&2
exit 1
