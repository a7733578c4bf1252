#!/usr/bin/env bash
# The proof on a GPU, in 10 minutes on one, with two ranks on it; on a CPU what can be done there. Ends with a table.
#   bash recipes/test-gpu.sh [--short] [--device cpu] [--from DIR]     with .venv, or LOTTERY_VENV=DIR
#   bash recipes/test-gpu.sh --prepare DIR [PYTHON_VERSION ...]        a folder from which it needs no network
# --prepare fetches the packages (all but torch, which a machine with a GPU has in its own build) as files, for this
# Python or for those named (3.12, say), and fairseq's sources. --from DIR makes an environment of them in DIR/venv, on
# top of the python3 (PYTHON=...) that has torch there, and builds fairseq against that torch (some minutes).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "test-gpu: error: $*" >&2
    exit 2
}

# What the checks import, at our versions where the constraints name them.
packages=(safetensors zstandard matplotlib scipy numpy stable-baselines3 sb3-contrib gymnasium ale-py opencv-python-headless
    cython ninja wheel setuptools hydra-core omegaconf sacrebleu bitarray regex scikit-learn sentencepiece tqdm packaging)

prepare() {
    local folder=$1 version number options=()
    shift
    if [[ -z ${LOTTERY_VENV:-} ]]; then bash recipes/setup.sh; fi
    mkdir -p "$folder/wheels"
    (($#)) || set -- "$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    # Everything at the versions that were tested together, but for torch and what comes with it.
    grep -viE '^(#|torch|nvidia|triton|cuda|fairseq|lottery|mujoco|envpool)' constraints.txt >"$folder/pins.txt"
    # What builds fairseq there, and packages that have only sources.
    grep -qiE '^wheel' "$folder/pins.txt" || printf '%s\n' wheel cython ninja setuptools >>"$folder/pins.txt"
    number=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    for version in "$@"; do
        options=(--no-deps --dest "$folder/wheels" --quiet)
        if [[ $version != "$number" ]]; then options+=(--python-version "$version" --only-binary=:all:); fi
        while read -r line; do
            "$venv/bin/python" -m pip download "${options[@]}" "$line" 2>/dev/null ||
                "$venv/bin/python" -m pip download --no-deps --no-build-isolation --no-binary :all: --quiet \
                    --dest "$folder/wheels" "$line" ||
                echo "test-gpu: $line is not to be had for Python $version; left out" >&2
        done <"$folder/pins.txt"
    done
    "$venv/bin/python" -m pip download --no-deps --no-build-isolation --no-binary :all: --quiet --dest "$folder/wheels" \
        "$(grep '^fairseq-fixed==' constraints.txt)"
    # The data of the checks, so that nothing is made twice.
    "$venv/bin/python" -c 'import sys; sys.path.insert(0, "recipes/gpu")
from pathlib import Path
from proof import Proof
for kind in ("pairs", "text", "base"):
    Proof(Path(sys.argv[1]).absolute(), "cpu").data(kind)' "$folder"
    echo "test-gpu: $folder is ready: bash recipes/test-gpu.sh --from $folder"
}

# An environment on top of a python that has torch, from files alone.
from_files() {
    local folder=$1 python=${PYTHON:-python3}
    [[ -d $folder/wheels ]] || fail "$folder was not made by --prepare"
    "$python" -c 'import torch' 2>/dev/null || fail "$python has no torch: name one that has, PYTHON=..."
    venv=$folder/venv
    if [[ ! -e $venv/.done ]]; then
        "$python" -m venv --system-site-packages "$venv"
        # If that python is of an environment itself, its packages are not those of the system.
        "$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), sep="\n")' \
            >"$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/with-torch.pth"
        local pip=("$venv/bin/python" -m pip install --quiet --no-index --no-build-isolation --find-links "$folder/wheels")
        "${pip[@]}" --no-deps cython ninja wheel setuptools
        "${pip[@]}" "${packages[@]}"
        env -u CUDA_HOME "${pip[@]}" --no-deps fairseq-fixed
        touch "$venv/.done"
    fi
}

venv=${LOTTERY_VENV:-.venv}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
arguments=() source=''
while (($#)); do
    case $1 in
        --prepare)
            (($# > 1)) || fail "--prepare needs a folder"
            prepare "${@:2}"
            exit
            ;;
        --from)
            (($# > 1)) || fail "--from needs a folder"
            source=$2
            shift
            ;;
        --short) arguments+=("$1") ;;
        --device)
            (($# > 1)) || fail "--device needs cuda or cpu"
            arguments+=("$1" "$2")
            shift
            ;;
        *) fail "unknown option '$1'; there are --short, --device, --from and --prepare" ;;
    esac
    shift
done
if [[ -n $source ]]; then
    from_files "$source"
    cp -r "$source/data" "$work/data"
elif [[ -z ${LOTTERY_VENV:-} ]]; then
    bash recipes/setup.sh
fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
"$venv/bin/python" recipes/gpu/proof.py "$work" ${arguments[@]+"${arguments[@]}"}
