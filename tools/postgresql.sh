#!/usr/bin/env bash
# Sees to it that the tests of sweeps find a PostgreSQL to start: the one that is there, else Debian's package.
# Without one those tests are skipped, and say so.
set -euo pipefail

is_there() {
    compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || command -v initdb >/dev/null
}

from_debian() {
    command -v apt-get >/dev/null || return 1
    local root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo --non-interactive)
    "${root[@]}" apt-get update -qq && "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql
}

is_there && exit 0
echo "No PostgreSQL yet: trying Debian's package" >&2
from_debian >&2 || true
is_there || echo "None to be had: its tests will be skipped" >&2
