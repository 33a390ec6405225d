#!/bin/sh
# Debian packages: install what is missing, and only that. Usage: sh setup/packages.sh [test|bench]
# The first step of `make run` and `make test`, in plain sh because Python itself may be missing.
set -eu
PATH=$PATH:/usr/sbin:/sbin
log=${TMPDIR:-/tmp}/fumehood-packages.$$.log

knows() { command -v "$1" >/dev/null 2>&1; }
packaged() { apt-cache show "$1" 2>/dev/null | grep -q "^Package:"; }
composes() { docker compose version >/dev/null 2>&1 || docker-compose version >/dev/null 2>&1; }

# What is missing, one word a package; the words in brackets are chosen below, when apt's lists are fresh.
missing=""
knows python3 || missing="$missing python3"
{ knows python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; } || missing="$missing python3-venv"
{ knows docker && { knows dockerd || docker version >/dev/null 2>&1; }; } || missing="$missing [engine]"
# Where the kernel has AppArmor, the engine starts no container without its parser.
! grep -qs Y /sys/module/apparmor/parameters/enabled || knows apparmor_parser || [ -x /usr/sbin/apparmor_parser ] || missing="$missing apparmor"
composes || missing="$missing [compose]"
knows mmdebstrap || missing="$missing mmdebstrap"
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing="$missing debian-archive-keyring"
# Without root, mmdebstrap makes its root file system in a user namespace.
[ "$(id -u)" = 0 ] || knows newuidmap || missing="$missing uidmap"
if [ "${1:-}" = test ] || [ "${1:-}" = bench ]; then
    knows redis-server || missing="$missing redis-server"
    # What commands of the docs use, which a test runs.
    for program in curl jq sqlite3; do knows $program || missing="$missing $program"; done
    # Debian keeps it beside the path, one directory a version.
    knows initdb || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
fi
[ "${1:-}" != bench ] || knows nginx || missing="$missing nginx-light"
# A browser for the pages, where the release packages one and not a hint at another shop.
if [ "${1:-}" = test ]; then
    knows chromium || knows chromium-browser || knows google-chrome || { [ -z "$missing" ] && ! packaged chromium; } || missing="$missing [browser]"
fi
# gVisor, where the release packages it: the attacks run on it too. What is packaged is known for certain when the lists are fresh.
[ "${1:-}" != test ] || knows runsc || { [ -z "$missing" ] && ! packaged runsc; } || missing="$missing [gvisor]"
[ -n "$missing" ] || exit 0

if ! knows apt-get; then
    echo "Missing:$missing. Only Debian and Ubuntu are set up automatically; install these, then run this again." >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    root=""
elif knows sudo; then
    root="sudo"
else
    echo "Missing packages:$missing" >&2
    echo "Neither root nor sudo is at hand. Ask an administrator for this, then run this again:" >&2
    echo "    apt-get install docker.io docker-compose mmdebstrap debian-archive-keyring python3-venv uidmap redis-server postgresql" >&2
    exit 1
fi

started=$(date +%s)
run() {
    if ! $root env DEBIAN_FRONTEND=noninteractive apt-get -q "$@" >>"$log" 2>&1 </dev/null; then
        echo "apt-get $* failed; the last lines of $log:" >&2
        tail -n 20 "$log" >&2
        exit 1
    fi
}
echo "packages: looking for$missing"
run update
chosen=""
for word in $missing; do
    case $word in
    # Newer releases package the engine's command line apart from the engine.
    "[engine]") chosen="$chosen docker.io"; ! packaged docker-cli || chosen="$chosen docker-cli" ;;
    "[compose]") if packaged docker-compose-v2; then chosen="$chosen docker-compose-v2"; else chosen="$chosen docker-compose"; fi ;;
    "[browser]") ! packaged chromium || chosen="$chosen chromium" ;;
    "[gvisor]") ! packaged runsc || chosen="$chosen runsc" ;;
    *) chosen="$chosen $word" ;;
    esac
done
echo "packages: installing$chosen"
# shellcheck disable=SC2086 # one word a package
run install --yes --no-install-recommends $chosen
# The tests start servers of their own; those that the packages started as services would only lie in the way.
for service in redis-server postgresql nginx; do
    case $chosen in *$service*) ! [ -d /run/systemd/system ] || $root systemctl disable --now $service >>"$log" 2>&1 || true ;; esac
done
echo "packages: installed in $(($(date +%s) - started)) s"
rm -f "$log"
