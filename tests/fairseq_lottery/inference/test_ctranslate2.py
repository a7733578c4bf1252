"""Models for CTranslate2: what fairseq translates, from CTranslate2 alone, and one line where that is impossible."""

from __future__ import annotations

import os
import shutil
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import pytest
import torch
from ctranslate2.converters import FairseqConverter
from fairseq.data import indexed_dataset

from fairseq_lottery.inference.ctranslate2.compare import compare
from fairseq_lottery.inference.ctranslate2.convert import EXTRA
from fairseq_lottery.inference.ctranslate2.heads import leave_out_dead_heads
from lottery_core import Ticket
from lottery_core.cli.lottery import main
from lottery_core.files import read_object
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, LM, LM_DATA, TRANSFORMER, TRANSFORMER_LM, TRANSLATION, load, train
from tests.fairseq_lottery.inference.test_without_us import PLAIN, hypotheses

SENTENCES = 40


@pytest.fixture(scope="module")
def trained(translation_data: Path, ticket: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a ticket that has learned to translate some words."""
    folder = tmp_path_factory.mktemp("trained")
    train(translation_data, folder, *TRANSLATION, *TRANSFORMER, *ADAM, "--ticket", ticket, "--max-epoch", 30)
    return folder / "checkpoint_last.pt"


def exported(checkpoint: Path, output: Path, *words: object) -> int:
    """Run the command in this process."""
    return main(["export", str(checkpoint), "-o", str(output), "--form", "ctranslate2", *map(str, words)])


def by_ctranslate2(folder: Path, data: Path) -> list[str]:
    """Its translations of the test split, from the text."""
    lines = (data.parent / "test.en").read_text().splitlines()
    translator = ctranslate2.Translator(str(folder), device="cpu")
    found = translator.translate_batch([line.split() for line in lines], beam_size=4, max_decoding_length=63)
    return [" ".join(each.hypotheses[0]) for each in found]


def by_fairseq(checkpoint: Path, data: Path) -> list[str]:
    """What fairseq-generate translates, in the order of the test split, without this project."""
    words = [data, "--path", checkpoint, "--cpu", "--beam", 4, "--gen-subset", "test", "--batch-size", SENTENCES]
    text = helpers.run(helpers.command("fairseq-generate", *words), **PLAIN).stdout
    lines = [line.removeprefix("H-").split("\t") for line in hypotheses(text) if line.startswith("H-")]
    return [line[2] for line in sorted(lines, key=lambda line: int(line[0]))]


def same(one: list[str], other: list[str]) -> int:
    """The number of equal lines of two translations."""
    return sum(first == second for first, second in zip(one, other, strict=True))


def test_a_ticket(
    trained: Path, ticket: Path, translation_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Float32 and 8 bits, beside fairseq-generate; the folder names the ticket."""
    assert helpers.lottery("export", trained, "-o", tmp_path / "plain.pt")
    expected = by_fairseq(tmp_path / "plain.pt", translation_data)
    assert len(set(expected)) > SENTENCES / 2
    sizes = {}
    for kind, words in (("float32", []), ("int8", ["--int8"])):
        folder = tmp_path / kind
        capsys.readouterr()
        assert exported(trained, folder, *words) == 0
        said = capsys.readouterr().out
        assert f"transformer, {kind}, " in said
        assert "BLEU" in said
        assert "tokens/s" in said
        facts = read_object(folder / "lottery.json")
        equal = same(by_ctranslate2(folder, translation_data), expected)
        # Of 16 channels 8 bits leave more or less, as a processor rounds.
        assert equal >= (SENTENCES - 2 if kind == "float32" else SENTENCES * 0.25)
        check = facts["check"]
        assert check["sentences"] == SENTENCES
        assert abs(check["same"] - equal) <= 2  # the batches are others, and rounding breaks ties
        assert check["bleu"][0] > 5
        assert abs(check["bleu"][0] - check["bleu"][1]) < (1.0 if kind == "float32" else 15)
        assert facts["ticket"] == Ticket.load(ticket).digest
        sizes[kind] = (folder / "model.bin").stat().st_size
    assert sizes["int8"] < 0.75 * sizes["float32"]


def test_shrunk_first(
    trained: Path, translation_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = load(trained)
    for side in ("encoder", "decoder"):
        state["model"][f"{side}.layers.0.fc2.weight"][:, ::2] = 0  # nothing reads every second unit
    torch.save(state, tmp_path / "dead.pt")
    assert exported(tmp_path / "dead.pt", tmp_path / "full") == 0
    assert exported(tmp_path / "dead.pt", tmp_path / "small", "--shrunk") == 0
    assert "units" in capsys.readouterr().out
    small, full = (by_ctranslate2(tmp_path / name, translation_data) for name in ("small", "full"))
    assert same(small, full) >= SENTENCES - 2
    assert (tmp_path / "small" / "model.bin").stat().st_size < (tmp_path / "full" / "model.bin").stat().st_size


def test_dead_heads_are_left_out(
    trained: Path, translation_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Heads that nothing reads, and heads whose values are 0; the scores stay the same to the last bit but for int8."""
    assert exported(trained, tmp_path / "whole") == 0
    assert "attention heads" not in capsys.readouterr().out
    state = load(trained)
    weights = state["model"]
    for name in ("encoder.layers.0.self_attn", "decoder.layers.0.encoder_attn"):
        weights[f"{name}.out_proj.weight"][:, :8] = 0
    weights["decoder.layers.0.self_attn.v_proj.weight"][8:] = weights["decoder.layers.0.self_attn.v_proj.bias"][8:] = 0
    torch.save(state, tmp_path / "dead.pt")
    assert exported(tmp_path / "dead.pt", tmp_path / "cut") == 0
    assert "left out 3 of 6 attention heads, which are dead" in capsys.readouterr().out
    assert read_object(tmp_path / "cut" / "lottery.json")["shrunk"] is False
    facts = read_object(tmp_path / "cut" / "lottery.json")["check"]
    assert facts["same"] + facts["ties"] == SENTENCES
    sizes = [(tmp_path / name / "model.bin").stat().st_size for name in ("cut", "whole")]
    assert sizes[0] < sizes[1] - 3 * 3 * 8 * 16 * 4
    helpers.lottery("export", tmp_path / "dead.pt", "-o", tmp_path / "plain.pt")
    for heads, expected in ((0, (3, 6)), (1, (1, 6))):  # with alignments of certain heads the decoder keeps all
        spec = FairseqConverter(str(tmp_path / "plain.pt"), str(translation_data), "en", "de")._load()
        spec.decoder.alignment_heads = np.dtype("int16").type(heads)
        assert leave_out_dead_heads(spec) == expected
    weights["decoder.layers.0.self_attn.v_proj.bias"][8:] = 1  # a constant that the output reads
    torch.save(state, tmp_path / "alive.pt")
    assert exported(tmp_path / "alive.pt", tmp_path / "constant") == 0
    assert "left out 1 of 6 attention heads" in capsys.readouterr().out


def test_shrunk_with_dead_heads(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Dead heads alone are enough; with dead units both are named once; with neither nothing is written."""
    state = load(trained)
    assert exported(trained, tmp_path / "nothing", "--shrunk") == 2
    assert "no unit is dead: nothing to remove (" in (said := refused(tmp_path / "nothing", capsys))
    assert said.endswith("and no attention head is dead")
    for name, weight in state["model"].items():
        if name.endswith("attn.out_proj.weight"):
            weight[:, :8] = 0
    torch.save(state, tmp_path / "dead.pt")
    assert exported(tmp_path / "dead.pt", tmp_path / "heads", "--shrunk") == 0
    said = capsys.readouterr().out
    assert "left out 3 of 6 attention heads, which are dead; no unit of a feed-forward block is dead" in said
    assert read_object(tmp_path / "heads" / "lottery.json")["shrunk"] is True
    for side in ("encoder", "decoder"):
        state["model"][f"{side}.layers.0.fc2.weight"][:, ::2] = 0
    torch.save(state, tmp_path / "dead.pt")
    assert exported(tmp_path / "dead.pt", tmp_path / "both", "--shrunk") == 0
    said = capsys.readouterr().out
    assert "left out 3 of 6 attention heads, which are dead; removed " in said
    assert "stay" not in said


def test_the_plain_form_is_read_by_the_converter_itself(trained: Path, translation_data: Path, tmp_path: Path) -> None:
    """By the command that ships with CTranslate2, where this project is not importable; the shrunk form too."""
    state = load(trained)
    state["model"]["encoder.layers.0.fc2.weight"][:, 0] = state["model"]["decoder.layers.0.fc2.weight"][:, 0] = 0
    torch.save(state, tmp_path / "dead.pt")
    for form in ("plain", "shrunk"):
        path, folder = tmp_path / f"{form}.pt", tmp_path / form
        helpers.lottery("export", tmp_path / "dead.pt", "-o", path, "--form", form)
        words = ["--model_path", path, "--data_dir", translation_data, "--output_dir", folder]
        languages = ["--source_lang", "en", "--target_lang", "de"]
        helpers.run(helpers.command("ct2-fairseq-converter", *words, *languages), **PLAIN)
        assert same(by_ctranslate2(folder, translation_data), by_fairseq(path, translation_data)) >= SENTENCES - 2
        options = torch.load(path, weights_only=True)["args"]  # torch's own allow-list, nothing added
        assert type(options) is OrderedDict
        assert vars(options) == dict(options)
        assert options.encoder_layers == options["encoder_layers"] == 1


def test_overrides_reach_the_plain_form(trained: Path, translation_data: Path, tmp_path: Path) -> None:
    """fairseq takes its options from another place than those of the checkpoint: the same overrides act."""
    helpers.lottery("export", trained, "-o", tmp_path / "plain.pt")
    words = ["--cpu", "--beam", 2, "--batch-size", SENTENCES]
    found = {}
    for change in ("{}", "{'activation_fn': 'tanh'}"):
        for path in (trained, tmp_path / "plain.pt"):
            more = ["--path", path, "--model-overrides", change]
            text = helpers.run(helpers.command("fairseq-generate", translation_data, *words, *more), **PLAIN).stdout
            found[change, path] = hypotheses(text)
    before, plain_before, after, plain_after = found.values()
    assert before == plain_before
    assert after == plain_after != before


def test_the_check_sees_another_model(dense: Path, trained: Path, translation_data: Path, tmp_path: Path) -> None:
    helpers.lottery("export", dense / "checkpoint_last.pt", "-o", tmp_path / "other.pt")
    assert exported(trained, tmp_path / "model") == 0
    found = compare(tmp_path / "other.pt", tmp_path / "model", translation_data, "float32")
    assert not found.fine
    assert found.bleu[1] > found.bleu[0] + 1


def refused(output: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a refusal that wrote nothing."""
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("lottery: error: ")]
    assert len(lines) == 1, said
    assert not output.exists()
    assert not [path for path in output.parent.iterdir() if path.name.endswith(".part")]
    return lines[0]


def test_what_ctranslate2_lacks(translation_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An architecture, an option of a Transformer, and a model that is not for translation: each is named."""
    lstm = helpers.split("--arch lstm --encoder-embed-dim 16 --encoder-hidden-size 16 --decoder-embed-dim 16")
    lstm += helpers.split("--decoder-hidden-size 16 --max-epoch 1")
    train(translation_data, tmp_path / "lstm", *TRANSLATION, *ADAM, *lstm)
    out = tmp_path / "out"
    assert exported(tmp_path / "lstm" / "checkpoint_last.pt", out) == 2
    assert "Model 'lstm' used by architecture 'lstm' is not supported" in refused(out, capsys)
    state = load(tmp_path / "lstm" / "checkpoint_last.pt")
    options: Any = state["cfg"]["model"]
    options.update({"arch": "transformer", "_name": "transformer", "no_token_positional_embeddings": True})
    options.update(dict.fromkeys(("encoder_normalize_before", "decoder_normalize_before"), False))
    options.update(dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2))
    torch.save(state, tmp_path / "c.pt")
    assert exported(tmp_path / "c.pt", out) == 2
    assert "Option --no-token-positional-embeddings is not supported" in refused(out, capsys)


def test_a_language_model(lm_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(lm_data, tmp_path, *LM, *LM_DATA, *TRANSFORMER_LM, *ADAM)
    assert exported(tmp_path / "checkpoint_last.pt", tmp_path / "out") == 2
    assert "is no translation model (its task is language_modeling)" in refused(tmp_path / "out", capsys)


def split_of(folder: Path, sentences: list[list[int]]) -> None:
    """Write the test split of a folder anew."""
    for language in ("en", "de"):
        path = folder / f"test.en-de.{language}"
        builder: Any = indexed_dataset.make_builder(f"{path}.bin", "mmap", vocab_size=100)
        for sentence in sentences:
            builder.add_item(torch.tensor(sentence))
        builder.finalize(f"{path}.idx")


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")  # it would be printed to users
def test_a_test_split_that_cannot_be_translated(
    trained: Path, translation_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every refusal names the data, not the folder that would be written."""

    def damaged(name: str, change: Callable[[Path], object]) -> Path:
        shutil.copytree(translation_data, folder := tmp_path / name)
        change(folder)
        return folder

    long = [[5] * 100 + [2]] * 3
    cases = {
        damaged(f"no {name}", lambda folder, name=name: (folder / name).unlink()): f"has no {name}: give the folder"
        for name in (f"test.en-de.{language}.{part}" for language in ("en", "de") for part in ("bin", "idx"))
    }
    cases[damaged("empty", lambda folder: split_of(folder, []))] = "has no sentences"
    cases[damaged("long", lambda folder: split_of(folder, long))] = "has no sentence that is short enough for the model"
    cut = damaged("cut", lambda folder: os.truncate(folder / "test.en-de.de.bin", 40))
    other = damaged("other", lambda folder: (folder / "test.en-de.de.idx").write_bytes(b"x" * 50))
    cases |= {cut: "cannot read the test split of", other: "cannot read the test split of"}
    for folder, expected in cases.items():
        assert exported(trained, tmp_path / "out", "--data", folder) == 2, folder
        line = refused(tmp_path / "out", capsys)
        assert expected in line
        assert str(folder) in line


def test_data_of_the_other_direction(trained: Path, translation_data: Path, tmp_path: Path) -> None:
    """As fairseq does, test.de-en is taken for a model from en to de."""
    shutil.copytree(translation_data, folder := tmp_path / "bin")
    for path in list(folder.glob("*.en-de.*")):
        path.rename(folder / path.name.replace("en-de", "de-en"))
    assert exported(trained, tmp_path / "out", "--data", folder) == 0


def test_refusals(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    assert exported(trained, out, "--data", tmp_path / "empty") == 2
    assert "has no translation data: give the folder that fairseq-preprocess wrote, --data DIR" in refused(out, capsys)
    assert exported(trained, tmp_path / "empty") == 2
    assert "it exists already; name another folder" in capsys.readouterr().err
    assert exported(trained, out, "--normalize") == 2
    assert "--normalize is an option of --form onnx" in refused(out, capsys)
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    assert exported(trained, out) == 2
    assert EXTRA in refused(out, capsys)
    assert main(["export", str(trained), "-o", str(out), "--form", "onnx"]) == 2
    assert "a fairseq model cannot be exported in the form onnx" in refused(out, capsys)
