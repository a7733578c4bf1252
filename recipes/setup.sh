#!/usr/bin/env bash
# Makes .venv with pinned versions, once; prints what it does. Needs Python >= 3.10 with venv and its headers, a C++ compiler
# (fairseq is built from source), and pip's index.
#   PYTHON=python3.11 TORCH=cpu bash recipes/setup.sh
# PYTHON: which Python; without it that of .venv, else python3. TORCH=cuda or cpu: which build of torch; without it cuda where a
# GPU is seen or .venv has it. On a machine without one the build for CUDA would fetch several gigabytes for nothing.
# A .venv of another Python, or with the other build of torch, is made anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-}
new_enough='import sys; sys.exit(sys.version_info < (3, 10))'
if [[ -z $python ]] && .venv/bin/python3 -c "$new_enough" 2>/dev/null; then python=.venv/bin/python3; fi
python=${python:-python3}
if ! "$python" -c "$new_enough" 2>/dev/null; then
    echo "setup: error: $python is missing or older than 3.10; name another: PYTHON=python3.11 bash recipes/setup.sh" >&2
    exit 2
fi

# The build of torch that .venv has; nothing where it has none.
present=
for folder in .venv/lib/python*/site-packages/torch-*.dist-info; do
    if [[ $folder == *+cpu.dist-info ]]; then present=cpu; elif [[ -d $folder ]]; then present=cuda; fi
done
# Elsewhere there is only one build.
if [[ $(uname) != Linux ]]; then present=; fi

build=${TORCH:-auto} why="as TORCH says"
case $build in
    auto)
        if [[ $(nvidia-smi -L 2>/dev/null) == *GPU* ]]; then
            build=cuda why="nvidia-smi lists a GPU"
        elif [[ $present == cuda ]]; then
            build=cuda why="as .venv has it; TORCH=cpu takes the other"
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

missing=
# A variable CXX may hold more words than the name of a program.
if [[ -z ${CXX:-} ]] && ! c++ --version >/dev/null 2>&1; then missing="a C++ compiler (c++)"; fi
if ! "$python" -c 'import os, sys, sysconfig
folders = [sysconfig.get_path("include"), sysconfig.get_path("include", "posix_prefix"), sysconfig.get_config_var("INCLUDEPY")]
sys.exit(not any(os.path.exists(f"{folder}/Python.h") for folder in folders))'; then
    missing+="${missing:+ and }the headers of $python (Python.h)"
fi
if [[ -n $missing ]]; then
    echo "setup: error: fairseq is built from source, which needs $missing: on Debian and Ubuntu apt-get install g++" \
        "python3-dev, on macOS xcode-select --install" >&2
    exit 2
fi

# venv keeps the links to the Python that made it, and for pip torch==2.13.0 is there where 2.13.0+cpu is.
anew=()
if [[ -L .venv/bin/python || -e .venv/bin/python ]]; then
    version='import sys; print(sys.version)'
    if [[ "$(.venv/bin/python -c "$version" 2>/dev/null)" != "$("$python" -c "$version")" ]]; then
        anew=(--clear)
        echo "setup: .venv is of another Python, or of one that is gone, and is made anew"
    elif [[ -n $present && $present != "$build" ]]; then
        anew=(--clear)
        echo "setup: .venv has torch for ${present/cuda/CUDA}, and is made anew"
    fi
fi
echo "setup: making .venv with $("$python" --version) and the versions in constraints.txt (some minutes)"
rm -f .venv/.stamp
if ! "$python" -m venv ${anew[@]+"${anew[@]}"} .venv; then
    echo "setup: error: cannot make a virtual environment (on Debian: apt-get install python3-venv)" >&2
    exit 2
fi
# Also serves isolated builds, which would otherwise fetch another torch, of several gigabytes.
# Relative, since pip splits it at spaces.
export PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1
# With it in the environment fairseq would compile extensions for CUDA, which nothing here needs, with any nvcc it finds.
unset CUDA_HOME
echo "setup: installing torch for ${build/cuda/CUDA} ($why)"
tools=(numpy cython ninja wheel setuptools)
wheel=$(grep '^torch==' constraints.txt)
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
.venv/bin/python -m pip install --quiet --no-build-isolation "$(grep '^fairseq-fixed==' constraints.txt)"
echo "setup: installing this project with Stable-Baselines3 and the tools for its tests"
.venv/bin/python -m pip install --quiet --no-build-isolation --editable '.[all,dev,docs]'
echo "$stamp" >.venv/.stamp
echo "setup: done"
