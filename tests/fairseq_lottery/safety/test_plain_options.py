"""What an option of a checkpoint may be."""

from __future__ import annotations

import re
from argparse import Namespace
from collections import OrderedDict, defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import fairseq
import numpy
import pytest
import torch
from fairseq.data.fasta_dataset import FastaDataset
from fairseq.models import ARCH_CONFIG_REGISTRY
from omegaconf import OmegaConf

import fairseq_lottery  # noqa: F401
from fairseq_lottery.safety import EVALUATED, require_plain, require_plain_state
from lottery_core.errors import CheckpointError


def with_attributes(**attributes: Any) -> Any:
    """A dictionary that has attributes beside its entries, as a file may give it."""
    options: OrderedDict[str, Any] = OrderedDict(encoder_layers=6)
    vars(options).update(attributes)
    return options


PLAIN: list[Any] = [
    {"encoder_layers": 6, "dropout": 0.1, "share": True, "arch": "transformer", "lr": [0.1], "w2v_args": None},
    {"decoder_attention": "True", "left_pad_source": "False", "adam_betas": "(0.9, 0.98)", "encoder_layers": "[]"},
    {"adaptive_softmax_cutoff": "100,200", "character_filters": "[(1, 64)]", "xformers_att_config": ""},
    {
        "eval_bleu_args": '{"beam": 5, "lenpen": 0.6}',
        "note": "words (of a kind), or two",
        "pair": "de-en",
        "s": "a.b/c",
    },
    {"data": "runs/x(1)", "save_dir": "/a/b (copy)/c[2]", "scope": r"fc(1|2)\.weight decoder.x[0]", "new": "x" * 9000},
    {"lang_pairs": ",".join(f"l{one}-l{two}" for one in range(100) for two in range(100))},
    {"w2v_args": Namespace(model={"conv_feature_layers": "[(512, 10, 5)] + [(512, 3, 2)] * 4"}), 3: (1, 2)},
    OrderedDict(model=Namespace(arch="fconv", encoder_layers="[(512, 3)] * 20")),
    OmegaConf.create({"model": {"layers": [1, "two"]}}),
    with_attributes(encoder_layers="[]", items="text"),
    Namespace(arch="lstm", decoder_attention="1"),
    None,
]


@pytest.mark.parametrize("options", PLAIN, ids=str)
def test_plain_data_is_accepted(options: Any) -> None:
    require_plain(options, "c.pt")


CALL = "__import__('os').system('true')"
REFUSED: dict[str, tuple[Any, str]] = {
    "a text": ({"model": {"encoder_layers": CALL}}, r"model\.encoder_layers is code, which fairseq would run: .__imp"),
    "a name": (
        {"decoder_attention": "x"},
        r"is code, .* \(Name is no literal; accepted are numbers, lists, tuples",
    ),
    "bytes": ({"a": {"decoder_attention": CALL.encode()}}, r"option a\.decoder_attention is of the type bytes"),
    "a bytearray": ({"decoder_attention": bytearray(b"1")}, "decoder_attention is of the type bytearray"),
    "an array": ({"decoder_attention": numpy.frombuffer(b"1", dtype="u1")}, "is of the type ndarray"),
    "a string of numpy": ({"decoder_attention": numpy.str_("1")}, "is of the type str_"),
    "a tensor": ({"decoder_attention": torch.ones(1)}, "is of the type Tensor"),
    "a class": ({"task": Fraction}, "task is of the type ABCMeta"),
    "an interpolation": ({"a": "exit(", "decoder_attention": "${a}${b}", "b": ")"}, "decoder_attention is an interpol"),
    "an interpolation anywhere": ({"note": "see ${oc.env:HOME}"}, "note is an interpolation, which may stand for any"),
    "an escaped one": ({"note": r"\${a}"}, "note is an interpolation"),
    "an interpolation in a name": ({"a": {"${b}": 1}}, r"option a\.'\${b}' has an interpolation in its name"),
    "nested": ({"a": [{"b": ({"c": [CALL]},)}]}, r"option a\.\*\.b\.\*\.c\.\* is code"),
    "in a list of an evaluated option": ({"encoder_layers": ["[f()]"]}, r"encoder_layers\.\* is code"),
    "a Namespace": ({"task": Namespace(note=CALL)}, r"task\.note is code"),
    "unknown to fairseq": ({"model": {"my_layers": CALL}}, r"model\.my_layers is code"),
    "an attribute of a dictionary": ({"model": with_attributes(encoder_layers=CALL)}, r"model\.encoder_layers is code"),
    "under the name of a method": ({"model": with_attributes(items=CALL)}, r"model\.items is code"),
    "no call, an assignment": ({"my_layers": "[0 for f.x in [g]]"}, "my_layers is code"),
    "no call, a subscript": ({"my_layers": "f['true']"}, "my_layers is code"),
    "too long to be parsed": ({"my_layers": "1+" * 2999 + CALL}, r"my_layers may be code, .* \(it has 6029 characters"),
    "too deep to be parsed": ({"my_layers": "-" * 3900 + CALL}, "my_layers (may be|is) code"),  # Python 3.13 parses it
    "overrides": ({"common_eval": {"model_overrides": f"{{'a': {CALL}}}"}}, r"common_eval\.model_overrides is code"),
    "a key": ({"a": {(1, 2): 3}}, "option in a has a key of the type tuple"),
    "a set": ({"a": {1}}, "a is of the type set"),
    "a mapping that calls": ({"a": defaultdict(list)}, "a is of the type defaultdict"),
    "escape sequences": ({"a": {"b\x1b[31m": CALL}}, r"option a\.b\\x1b\[31m is code"),
    "a configuration of OmegaConf": (OmegaConf.create({"a": 1, "b": "${a}"}), "option b is an interpolation"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused_by_name(name: str) -> None:
    options, line = REFUSED[name]
    for state in ({"cfg": options}, {"cfg": None, "args": Namespace(inner=options)}):
        with pytest.raises(CheckpointError, match=r"^cannot read c\.pt: its option ") as refused:
            require_plain_state(state, "c.pt")
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 600
    with pytest.raises(CheckpointError, match=line):
        require_plain(options, "c.pt")


def test_the_size_is_bounded() -> None:
    """Of structures that a file of a few bytes can hold, by holding the same part many times."""
    shared: list[Any] = ["x"]
    for _ in range(28):
        shared = [shared, shared]
    around: list[Any] = []
    around.append(around)
    for options, line in (({"a": shared}, "more than 200,000 options"), ({"a": around}, "is nested too deeply")):
        with pytest.raises(CheckpointError, match=line):
            require_plain(options, "c.pt")


@pytest.mark.parametrize("state", [[], "text", {"cfg": "model: {}"}, {"cfg": [1]}, {"args": {1}}], ids=str)
def test_what_is_no_checkpoint(state: Any) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read c\.pt: it"):
        require_plain_state(state, "c.pt")


def test_every_option_that_fairseq_evaluates_is_known() -> None:
    """Read off its source: another version of it may evaluate more."""
    found = set()
    for path in Path(fairseq.__file__).parent.rglob("*.py"):
        calls = re.findall(r"eval(?:_bool|_str_\w+)?\(\s*(?:self\.)?(?:args|cfg)\.([\w.]+)", path.read_text())
        found |= {name.rpartition(".")[2] for name in calls}
    assert {"encoder_layers", "decoder_attention", "adam_betas", "wer_args", "left_pad_source"} <= found
    assert found <= EVALUATED


def test_no_option_and_no_path_reaches_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one place where fairseq uses a shell makes the index of a FASTA file."""
    place = Path(fairseq.__file__).parent
    sources = {path.relative_to(place): path.read_text() for path in place.rglob("*.py")}
    found = {path for path, text in sources.items() if re.search(r"shell=True|os\.(system|popen)\(", text)}
    assert {str(path) for path in found if path.parts[0] != "examples"} == {"data/fasta_dataset.py"}
    folder = tmp_path / "$(touch ran)"
    folder.mkdir()
    (folder / "train.fasta").write_text(">one\nACGT\nAC\n>two\n\n>three\nÄC\n")
    monkeypatch.chdir(tmp_path)
    data = FastaDataset(str(folder / "train"))
    assert data.offsets.tolist() == [0, 13, 19]
    assert data.sizes.tolist() == [6, 0, 2]
    assert [data[index] for index in range(3)] == [(">one", "ACGTAC"), (">two", ""), (">three", "ÄC")]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_the_defaults_of_every_architecture_are_accepted() -> None:
    """Those of fconv are written as ``[(512, 3)] * 20``."""
    seen = []
    for arch, defaults in ARCH_CONFIG_REGISTRY.items():
        options = Namespace(arch=arch)
        try:
            defaults(options)
        except Exception:  # some set defaults only beside options from their parser
            continue
        require_plain(options, arch)
        seen += [value for name, value in vars(options).items() if name in EVALUATED and isinstance(value, str)]
    assert any("[(512, 3)] * 9" in value for value in seen)
    assert len(ARCH_CONFIG_REGISTRY) > 100
