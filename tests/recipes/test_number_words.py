"""The grammar of the quickstart's number words, and that its parts do not overlap."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[2] / "recipes" / "data"
sys.path.insert(0, str(RECIPES))
import number_sums  # noqa: E402
import number_words  # noqa: E402

WORDS = {
    0: ("zero", "null"),
    1: ("one", "eins"),
    16: ("sixteen", "sechzehn"),
    17: ("seventeen", "siebzehn"),
    21: ("twenty-one", "einundzwanzig"),
    30: ("thirty", "dreißig"),
    76: ("seventy-six", "sechsundsiebzig"),
    100: ("one hundred", "einhundert"),
    101: ("one hundred and one", "einhunderteins"),
    307: ("three hundred and seven", "dreihundertsieben"),
    1000: ("one thousand", "eintausend"),
    1001: ("one thousand and one", "eintausendeins"),
    1101: ("one thousand one hundred and one", "eintausendeinhunderteins"),
    2021: ("two thousand and twenty-one", "zweitausendeinundzwanzig"),
    21_000: ("twenty-one thousand", "einundzwanzigtausend"),
    101_011: ("one hundred and one thousand and eleven", "einhunderteintausendelf"),
    612_345: (
        "six hundred and twelve thousand three hundred and forty-five",
        "sechshundertzwölftausenddreihundertfünfundvierzig",
    ),
}


@pytest.mark.parametrize("number", WORDS)
def test_grammar(number: int) -> None:
    assert (number_words.english(number), number_words.german(number)) == WORDS[number]


def test_every_number_has_words_of_its_own() -> None:
    numbers = [*range(3000), *range(3000, number_words.LIMIT, 97)]
    for words in (number_words.english, number_words.german):
        assert len({words(number) for number in numbers}) == len(numbers)


@pytest.mark.parametrize("number", [-1, 1_000_000])
def test_other_numbers(number: int) -> None:
    with pytest.raises(ValueError, match="is not between 0 and 999,999"):
        number_words.german(number)


def test_the_parts_do_not_overlap(tmp_path: Path) -> None:
    number_words.write(tmp_path, {"train": 500, "valid": 50, "test": 60})
    lines = {part: (tmp_path / f"{part}.de").read_text().splitlines() for part in ("train", "valid", "test")}
    assert [len(part) for part in lines.values()] == [500, 50, 60]
    assert len({line for part in lines.values() for line in part}) == 610
    assert len((tmp_path / "test.en").read_text().splitlines()) == 60


def test_a_range_of_numbers_and_the_units_of_another(tmp_path: Path) -> None:
    def made(script: str, folder: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(RECIPES / script), str(tmp_path / folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    sizes = ("--train", "300", "--held-out", "20")
    for folder, words in (("low", ["--to", "999"]), ("high", ["--from", "999000"])):
        assert made("number_words.py", folder, *sizes, *words).returncode == 0
    known = {number_words.german(number): number for number in [*range(1000), *range(999_000, number_words.LIMIT)]}
    for folder, numbers in (("low", range(1000)), ("high", range(999_000, number_words.LIMIT))):
        lines = (tmp_path / folder / "train.de").read_text().splitlines()
        assert {known[line] for line in lines} <= set(numbers)
    refused = made("number_words.py", "none", *sizes, "--from", "999900")
    assert (refused.returncode, "there are no 340 numbers from 999,900 to 999,999" in refused.stderr) == (2, True)
    assert made("units.py", "low", "--size", "60").returncode == 0
    assert made("units.py", "high", "--model", str(tmp_path / "low/units.model")).returncode == 0
    assert not (tmp_path / "high/units.model").exists()
    pieces = (tmp_path / "high/valid.sp.de").read_text().splitlines()
    written = ["".join(line.split()).replace("\u2581", " ").strip() for line in pieces]
    assert written == (tmp_path / "high/valid.de").read_text().splitlines()


def test_units(tmp_path: Path) -> None:
    """Units give the text back, and only the first part was learnt from."""
    pytest.importorskip("sentencepiece")
    number_words.write(tmp_path, {"train": 500, "valid": 20, "test": 20})
    words = [sys.executable, str(RECIPES / "units.py"), str(tmp_path), "--size", "120"]
    subprocess.run(words, check=True, capture_output=True)
    for name in ("train.sp.en", "test.sp.de"):
        pieces = (tmp_path / name).read_text().splitlines()
        plain = (tmp_path / name.replace(".sp", "")).read_text().splitlines()
        assert ["".join(line.split()).replace("▁", " ").strip() for line in pieces] == plain


def test_sums(tmp_path: Path) -> None:
    assert number_sums.sentence(7, 25) == "seven plus twenty five is thirty two"
    number_sums.write(tmp_path, {"train": 300, "valid": 30, "test": 40})
    texts = [(tmp_path / f"{part}.txt").read_text() for part in ("train", "valid", "test")]
    lines = [line for text in texts for line in text.splitlines()]
    assert len(set(lines)) == 370
    assert all(" plus " in line and " is " in line for line in lines)
