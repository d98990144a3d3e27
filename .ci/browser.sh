#!/bin/sh
# Chromium for the tests of report.html.
#
#   sh .ci/browser.sh FOLDER   leaves FOLDER/environment, what the tests are told in lines of shell;
#                              where this machine cannot have a browser, the reason in FOLDER/absent
set -eu
folder=${1:?a folder}
mkdir -p "$folder"

say() { echo "browser: $*"; }

# The names that tests/browser.py looks for.
find_browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

if ! find_browser >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "there is no Chromium, and only root of a Debian machine can install one" | tee "$folder/absent"
        exit 0
    fi
    export DEBIAN_FRONTEND=noninteractive
    {
        apt-get -o DPkg::Lock::Timeout=300 update &&
            apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends chromium fonts-dejavu-core
    } >"$folder/apt.log" 2>&1 </dev/null || {
        say "apt-get install chromium failed; the end of what it said:"
        tail -20 "$folder/apt.log"
        exit 1
    }
    say "installed"
fi
echo "export SERVEBENCH_REQUIRE_BROWSER=1" >"$folder/environment"
say "ready: $(find_browser)"
