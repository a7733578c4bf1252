#!/usr/bin/env bash
# Makes .venv with pinned versions, once; prints what it does. Needs Python >= 3.10 with venv, and pip's index.
#   PYTHON=python3.11 TORCH=cpu bash recipes/setup.sh
# TORCH=cuda or cpu: which build of torch; without it cuda where a GPU is seen. On a machine without one the build for CUDA
# would fetch several gigabytes for nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "setup: error: $python is missing or older than 3.10; name another: PYTHON=python3.11 bash recipes/setup.sh" >&2
    exit 2
fi

build=${TORCH:-auto} why="as TORCH says"
case $build in
    auto)
        if [[ $(nvidia-smi -L 2>/dev/null) == *GPU* ]]; then
            build=cuda why="nvidia-smi lists a GPU"
        else
            build=cpu why="no GPU is seen; TORCH=cuda takes the other"
        fi
        ;;
    cpu | cuda) ;;
    *)
        echo "setup: error: TORCH is cuda or cpu, not '$build'" >&2
        exit 2
        ;;
esac

# The environment is made again when anything that decides it has changed.
stamp=$("$python" -c 'import hashlib, pathlib, sys
files = ("setup.py", "pyproject.toml", "constraints.txt", "recipes/setup.sh", "lottery_core/version.py")
words = (sys.version + sys.argv[1]).encode()
print(hashlib.sha256(b"".join(pathlib.Path(f).read_bytes() for f in files) + words).hexdigest())' "$build")
if [[ -f .venv/.stamp && "$(cat .venv/.stamp)" == "$stamp" ]]; then
    exit 0
fi

echo "setup: making .venv with $("$python" --version) and the versions in constraints.txt (some minutes)"
rm -f .venv/.stamp
if ! "$python" -m venv .venv; then
    echo "setup: error: cannot make a virtual environment (on Debian: apt-get install python3-venv)" >&2
    exit 2
fi
# Also serves isolated builds, which would otherwise fetch another torch, of several gigabytes.
export PIP_CONSTRAINT=$PWD/constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1
# With it in the environment fairseq would compile extensions for CUDA, which nothing here needs, with any nvcc it finds.
unset CUDA_HOME
echo "setup: installing torch for ${build/cuda/CUDA} ($why)"
tools=(numpy cython ninja wheel setuptools)
wheel=torch==2.13.0
# Linux's wheel on PyPI is that for CUDA; elsewhere there is only one.
if [[ $build == cpu && $(uname) == Linux ]]; then wheel+=+cpu; fi
if [[ $wheel == *+cpu ]]; then
    # From pip's own index if it has it, else from PyTorch's.
    if ! .venv/bin/python -m pip install --quiet "$wheel" "${tools[@]}" 2>/dev/null &&
        ! .venv/bin/python -m pip install --quiet "$wheel" "${tools[@]}" \
            --extra-index-url https://download.pytorch.org/whl/cpu; then
        echo "setup: error: there is no $wheel for this Python in pip's index, nor in PyTorch's, or no network;" \
            "TORCH=cuda takes the wheel for CUDA, several gigabytes" >&2
        exit 2
    fi
else
    .venv/bin/python -m pip install --quiet "$wheel" "${tools[@]}"
fi
echo "setup: building fairseq (about 3 minutes, the first time)"
# Its build needs torch; without isolation it takes the one above, whatever pip's version.
.venv/bin/python -m pip install --quiet --no-build-isolation fairseq-fixed==0.12.3.1
echo "setup: installing this project with Stable-Baselines3 and the tools for its tests"
.venv/bin/python -m pip install --quiet --no-build-isolation --editable '.[all,dev,docs]'
echo "$stamp" >.venv/.stamp
echo "setup: done"
