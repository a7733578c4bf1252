"""Commands of the tests start from a parent that has loaded torch and a framework: a start from nothing takes seconds.

``subprocess.Popen`` in the tests, and in the commands that they start, recognises a command of this project and of
fairseq. Instead of a new interpreter it gets a fork of a parent process that has imported the framework and done
nothing else. The fork is a child of the caller and has what a process of its own has: arguments, folder, environment,
open files, session and process group, limits, signals, exit status. Its own commands come from a fork that was made
before it ran. In shell scripts that a test runs, those of :func:`scripts` do the same. Other Python code, ``-c
CODE``, ``FILE.py`` or ``-m MODULE``, gets the parent that its environment names (:data:`PARENT`): a key of
``commands.LOADED``.

A framework has two parents: one has loaded this project too, the other serves where another copy of it is first on a
command's path, or none may be. fairseq has a third, which has imported this project's user-dir, for commands that do
so first of all. A command starts from nothing where a fork could still differ: other modules first on its path,
settings that an interpreter reads when it starts, more than one thread. So do all commands of a test with the mark
``real_starts``, and of every test where ``LOTTERY_TEST_REAL_STARTS`` is set.
"""

from tests.preloaded.client import install, scripts, served
from tests.preloaded.commands import PARENT, REAL, ROOT, SCRIPTS

__all__ = ["PARENT", "REAL", "ROOT", "SCRIPTS", "install", "scripts", "served"]
