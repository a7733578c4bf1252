"""Texts that fairseq would evaluate: their values without evaluating them, bounded, or a refusal."""

from __future__ import annotations

import pytest

from fairseq_lottery.safety import NoLiteralError, literal

LITERALS = [
    *("[(512, 3)] * 20", "[(512, 3)] * 9 + [(1024, 3)] * 4 + [(2048, 1)] * 2", "20 * [(512, 3)]", "()", "[1] * 0"),
    *("[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]", "(0.9, 0.98)", "(1e-30, 1e-3)", "False"),
    *("[(1, 64), (2, 128)]", "10000,20000,200000", "{'beam': [4, 5]}", "{}", "-1", " None", "1e-3 * 2", "(1,) + (2,)"),
    *("('lexicon.txt', 'lm.bin', 2, -1)", "[True] * 3"),
]
REFUSED = {
    "a call": "[exit()]",
    "an attribute": "utils.f",
    "a name": "exit",
    "a subscript": "[1][0]",
    "a comprehension that assigns": "[1 for utils.f in [exit]]",
    "a format": "f'{1}'",
    "bytes": "b'1'",
    "a string": "'exit()'",
    "a power": "9 ** 9 ** 9",
    "a repeated string": "['a' * 10]",
    "a long list": "[0] * 10001",
    "a list of long lists": "[[0] * 9999] * 9999",
    "a large number": "9" * 3000,
    "unpacking": "{**{}}",
    "a walrus": "(a := 1)",
    "a lambda": "lambda: 0",
    "deep": "[" * 150 + "]" * 150,
    "deeper than the parser": "-" * 4000 + "1",
    "a sum of 3,000 terms": "1+" * 2999 + "1",
    "a sum of 1,000 terms": "1+" * 999 + "1",
    "a sum with a call": "1+" * 2999 + "exit()",
    "no expression": "import os",
    "numbers and lists": "[1] + 1",
    "a list as a number": "-[1]",
    "a key that is a list": "{(1, 2): 3}",
}


@pytest.mark.parametrize("text", LITERALS)
def test_literals_have_the_value_that_python_gives_them(text: str) -> None:
    assert literal(text) == eval(text.strip())


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(NoLiteralError):
        literal(REFUSED[name])
