#!/usr/bin/env bash
# Sets the project up and tests it under another Python, and writes down what happened; by hand, since torch is large.
#   bash recipes/test-python.sh 3.13 [tests/lottery_core ...]          # a python3.13 of this machine, on PATH or pyenv's
#   bash recipes/test-python.sh /srv/trixie [tests/lottery_core ...]   # that of another Debian; made there if it is missing (root)
# What follows goes to pytest; without it the whole suite runs. TORCH=cuda|cpu as for setup.sh; RELEASE=trixie: which Debian.
# The copy, its .venv, log and outcome.txt are in WORK, by default build/python-VERSION, or ROOT/opt/lottery-plugins.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "test-python: error: $*" >&2
    exit 2
}

(($#)) || fail "give a version, e.g. 3.13, or the root folder of another Debian (made by debootstrap)"
target=$1
shift
root='' python=''
if [[ $target =~ ^3\.[0-9]+(\.[0-9]+)?$ ]]; then
    for candidate in "python$target" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$target"*/bin/python3; do
        if "$candidate" -c 'import sys' 2>/dev/null; then python=$candidate; fi
    done
    [[ -n $python ]] || fail "there is no python$target on PATH, nor in pyenv; another Debian has one: give a folder for it"
    work=${WORK:-build/python-$target}
elif [[ $target == */* ]]; then
    root=$target python=python3 work=$root/opt/lottery-plugins
    [[ $(id -u) == 0 ]] || fail "a root folder needs root, for chroot"
else
    fail "'$target' is no version (3.13) and no folder (with a slash)"
fi

# In the other Debian, or here.
inside() {
    if [[ -z $root ]]; then
        (cd "$work" && env -u VIRTUAL_ENV "$@")
    else
        chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
            ${TORCH:+TORCH="$TORCH"} PYTHON="$python" bash -c "cd /opt/lottery-plugins && exec \"\$@\"" bash "$@"
    fi
}

unmount() { for place in dev/shm dev proc; do umount "$root/$place" 2>/dev/null || true; done; }

make_root() {
    # debootstrap deletes this folder at its end.
    [[ ! -d $root/debootstrap ]] || fail "debootstrap was stopped while it made $root: delete that folder"
    if [[ ! -x $root/usr/bin/python3 ]]; then
        command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap"
        echo "test-python: making Debian ${RELEASE:-trixie} in $root"
        debootstrap --variant=minbase --include=python3,python3-venv,python3-dev,g++,git,ca-certificates \
            "${RELEASE:-trixie}" "$root" >"$root.log" 2>&1 || fail "debootstrap failed, see $root.log"
    fi
    # The network and pip's settings of this machine.
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    if [[ -f /etc/pip.conf ]]; then cp /etc/pip.conf "$root/etc/pip.conf"; fi
    cp -r /etc/ssl/certs "$root/etc/ssl/"
    trap unmount EXIT
    mount -t proc proc "$root/proc"
    mount --bind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/dev/shm"
}

if [[ -n $root ]]; then make_root; fi
mkdir -p "$work"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --create | tar --extract --directory "$work"

log=$work/test-python.log
: >"$log"
note() { echo "$1" | tee -a "$work/outcome.txt"; }
# A step and what became of it: its name, then the command.
step() {
    local name=$1 from=$SECONDS status=0
    shift
    inside "$@" >>"$log" 2>&1 || status=$?
    if ((status)); then
        note "  $name: failed with status $status after $((SECONDS - from)) s: $(tail -n 1 "$log")"
    else
        note "  $name: $(tail -n 1 "$log") ($((SECONDS - from)) s)"
    fi
    return "$status"
}

export PYTHON=$python
if [[ $python == */* && $python != /* ]]; then PYTHON=$PWD/$python; fi
note "$(date '+%Y-%m-%d') $(inside "$python" --version), $(git rev-parse --short HEAD 2>/dev/null || echo 'no commit')"
step set-up bash recipes/setup.sh || exit 1
step doctor .venv/bin/lottery doctor || exit 1
if (($# == 0)); then set -- tests; fi
step "pytest $*" env OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 .venv/bin/python -m pytest -q -m "not slow" "$@" || exit 1
echo "test-python: see $log and $work/outcome.txt"
