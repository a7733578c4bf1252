"""A missing or broken fairseq: one line with the command that mends it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.fairseq_lottery import helpers


def test_fairseq_missing_or_broken(tmp_path: Path) -> None:
    """Also from a command of this package, whose import is what fails."""
    command = tmp_path / "fairseq-lottery"
    command.write_text("import sys\nfrom fairseq_lottery.launcher.command import main\nsys.exit(main())\n")
    for name, code, words in (
        ("broken", "raise ValueError('mutable default is not allowed')", "fairseq is broken (mutable default"),
        ("missing", "raise ModuleNotFoundError(\"No module named 'fairseq'\", name='fairseq')", "is not installed"),
    ):
        (tmp_path / name / "fairseq").mkdir(parents=True)
        (tmp_path / name / "fairseq" / "__init__.py").write_text(code)
        path = os.pathsep.join([str(tmp_path / name), str(helpers.ROOT)])
        done = helpers.run([sys.executable, str(command), "--help"], status=2, PYTHONPATH=path)
        assert words in helpers.refusal(done.stderr)
        assert "pip install" in done.stderr
