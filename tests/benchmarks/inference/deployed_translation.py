"""The part of ``deployment.py`` about translation: fairseq and CTranslate2."""

from __future__ import annotations

import argparse
import gc
import logging
import warnings
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from fairseq.modules import MultiheadAttention

from lottery_core.cli.lottery import main as lottery
from tests.benchmarks.inference import sparse_inference
from tests.benchmarks.taking_turns import Row, megabytes, seconds, turns

LENGTH, BEAM = sparse_inference.LENGTH, sparse_inference.BEAM
SMALL = "--encoder-layers 1 --decoder-layers 1 --encoder-ffn-embed-dim 256 --decoder-ffn-embed-dim 256"


def without_units(model: Any, start: dict[str, torch.Tensor], percent: int) -> None:
    """The start values without that share of the units of each feed-forward block, and of the heads of each attention.

    No weight reads or feeds them. fairseq's own class has room for fewer units, CTranslate2 for fewer heads as well.
    """
    torch.manual_seed(percent)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(start[name])
        for layer in (*model.encoder.layers, *model.decoder.layers):
            width = layer.fc1.weight.shape[0]
            dead = torch.randperm(width)[: width * percent // 100]
            layer.fc1.weight[dead] = 0
            layer.fc1.bias[dead] = 0
            layer.fc2.weight[:, dead] = 0
        for attention in (module for module in model.modules() if isinstance(module, MultiheadAttention)):
            size = attention.head_dim
            for head in torch.randperm(attention.num_heads)[: attention.num_heads * percent // 100].tolist():
                rows = slice(head * size, (head + 1) * size)
                for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
                    projection.weight[rows] = 0
                    projection.bias[rows] = 0
                attention.out_proj.weight[:, rows] = 0


class Fairseq:
    """A checkpoint in fairseq's own beam search."""

    def __init__(self, path: Path, data: Path) -> None:
        from fairseq import checkpoint_utils

        models, cfg, self.task = checkpoint_utils.load_model_ensemble_and_task(
            [str(path)], arg_overrides={"data": str(data)}
        )
        self.model = models[0].eval()
        self.model.prepare_for_inference_(cfg)
        options = Namespace(beam=BEAM, max_len_a=0, max_len_b=LENGTH, min_len=LENGTH)
        self.generator = self.task.build_generator([self.model], options)

    def make_sparse(self, dataset: Any, batch: int) -> None:
        """As ``--sparse-inference auto`` does."""
        from fairseq_lottery.inference import loads_of_generation, make_sparse

        options = SimpleNamespace(gen_subset="test", batch_size=batch, max_tokens=None)
        task = SimpleNamespace(datasets={"test": dataset}, lottery_options=options)
        auto = SimpleNamespace(sparse_inference="auto")
        make_sparse([self.model], auto, lambda model: loads_of_generation(task, model, BEAM))

    def translate(self, samples: Sequence[Any]) -> None:
        for sample in samples:
            self.task.inference_step(self.generator, [self.model], sample)


def ctranslate2(folder: Path) -> Any:
    from ctranslate2 import Translator

    kind = "int8" if "int8" in folder.name else "float32"
    return Translator(str(folder), device="cpu", compute_type=kind, inter_threads=1, intra_threads=1)


def translate(translator: Any, batches: Sequence[list[list[str]]]) -> None:
    for batch in batches:
        translator.translate_batch(
            batch, beam_size=BEAM, min_decoding_length=LENGTH, max_decoding_length=LENGTH, max_batch_size=0
        )


def convert(path: Path, output: Path, data: Path, kind: str) -> Path:
    """The model for CTranslate2, without the check of its translations, which random weights cannot pass."""
    from fairseq_lottery.inference.ctranslate2 import convert_files

    convert_files(path, data, ("en", "de"), output, kind)
    return output


def exported(path: Path, output: Path, form: str) -> Path:
    if lottery(["export", str(path), "-o", str(output), "--form", form, "--trust"]):
        raise SystemExit(f"cannot export {path}")
    return output


def translation(args: argparse.Namespace, work: Path) -> list[Row]:
    """The rows of the Transformer."""
    sparse_inference.SENTENCES = max(8, *args.batches)
    for name in ("fairseq", "hydra"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.simplefilter("ignore")
    data = sparse_inference.make_data(work)
    model, rest = sparse_inference.make_model(data, *(SMALL.split() if args.quick else []))
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    def saved(name: str, model: Any = model) -> Path:
        path, plain = work / f"{name}.trained.pt", work / f"{name}.pt"
        torch.save({**rest, "model": model.state_dict()}, path)
        exported(path, plain, "plain")
        path.unlink()  # a quarter of a gigabyte
        return plain

    paths = {"dense": saved("dense")}
    for percent in args.pruned:
        sparse_inference.prune_randomly(model, start, percent)
        paths[f"{percent}% of weights"] = saved(f"weights-{percent}")
    for percent in args.units:
        without_units(model, start, percent)
        plain = saved(f"units-{percent}")
        paths[f"{percent}% of units, shrunk"] = exported(plain, work / f"shrunk-{percent}.pt", "shrunk")
    folders = {
        (name, kind): convert(path, path.with_suffix(f".{kind}"), data, kind)
        for name, path in paths.items()
        if "weights" not in name
        for kind in ("float32", "int8")
    }
    rows = {name: {"model": name, "runtime": "fairseq", "MB": megabytes(path)} for name, path in paths.items()}
    ways: dict[str, Row] = {}
    for name, row in rows.items():
        ways[f"{name}/fairseq"] = {**row, "runtime": "fairseq" if name == "dense" else "fairseq, sparse auto"}
    for (name, kind), folder in folders.items():
        ways[f"{name}/{kind}"] = {"model": name, "runtime": f"CTranslate2 {kind}", "MB": megabytes(folder)}
    loads: dict[str, Callable[[], float]] = {
        f"{name}/fairseq": lambda path=path: seconds(lambda: Fairseq(path, data)) for name, path in paths.items()
    }
    for (name, kind), folder in folders.items():
        loads[f"{name}/{kind}"] = lambda folder=folder: seconds(lambda: ctranslate2(folder))
    for name, value in turns(loads, args.pairs).items():
        ways[name]["load s"] = value
    for batch in args.batches:
        column = "ms a sentence, batch 1" if batch == 1 else f"words/s, batch {batch}"
        for name, value in speeds(paths, folders, data, batch, args.pairs).items():
            ways[name][column] = 1e3 * LENGTH / value if batch == 1 else value
        if batch > 1:
            for row in ways.values():
                row[f"x{batch}"] = row[column] / ways["dense/fairseq"][column]
        else:
            for row in ways.values():
                row["x1"] = ways["dense/fairseq"][column] / row[column]
        gc.collect()
    return list(ways.values())


def speeds(
    paths: dict[str, Path], folders: dict[tuple[str, str], Path], data: Path, batch: int, pairs: int
) -> dict[str, float]:
    """Way -> words a second, of sentences in batches of one size."""
    count = max(8, batch)
    ways: dict[str, Callable[[], float]] = {}
    models = {name: Fairseq(path, data) for name, path in paths.items()}
    task = next(iter(models.values())).task
    task.load_dataset("test")
    dataset = task.dataset("test")
    rows = [dataset[number] for number in range(count)]
    words = [[task.source_dictionary[index] for index in row["source"][:-1].tolist()] for row in rows]
    begins = range(0, count, batch)
    samples = [dataset.collater(rows[begin : begin + batch]) for begin in begins]
    sources = [words[begin : begin + batch] for begin in begins]
    for name, model in models.items():
        if name != "dense":
            model.make_sparse(dataset, batch)
        ways[f"{name}/fairseq"] = lambda model=model: count * LENGTH / seconds(lambda: model.translate(samples))
    for (name, kind), folder in folders.items():
        fast = ctranslate2(folder)
        ways[f"{name}/{kind}"] = lambda fast=fast: count * LENGTH / seconds(lambda: translate(fast, sources))
    return turns(ways, pairs)
