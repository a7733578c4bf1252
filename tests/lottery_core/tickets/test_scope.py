"""Which parameters are in the pool."""

from __future__ import annotations

import pytest

from lottery_core.errors import ScopeError
from lottery_core.tickets.scope import pool_names

NAMES = [
    "encoder.embed_tokens.weight",
    "encoder.layers.0.self_attn.q_proj.weight",
    "encoder.layers.0.self_attn.out_proj.bias",
    "encoder.layers.0.self_attn_layer_norm.weight",
    "encoder.layers.0.fc1.weight",
    "decoder.output_projection.weight",
    "action_net.weight",
    "mlp_extractor.value_net.0.weight",
    "value_net.weight",
    "log_std",
]


def test_all_is_everything_but_the_outside_in_sorted_order() -> None:
    assert pool_names(reversed(NAMES), "all", outside={"log_std"}) == sorted(NAMES[:-1])


def test_layers_leave_embeddings_norms_and_output_layers_whole() -> None:
    assert pool_names(NAMES, "layers", {"log_std"}) == [
        "encoder.layers.0.fc1.weight",
        "encoder.layers.0.self_attn.out_proj.bias",
        "encoder.layers.0.self_attn.q_proj.weight",
        "mlp_extractor.value_net.0.weight",
    ]


def test_regular_expressions_are_joined() -> None:
    assert pool_names(NAMES, [r"\.fc1\.", "^action"]) == ["action_net.weight", "encoder.layers.0.fc1.weight"]


@pytest.mark.parametrize(
    ("scope", "words"),
    [("decoder.layers", "matches none"), ("(", "not a regular expression"), ([], "empty"), (["all", "nope"], "'nope'")],
)
def test_a_scope_that_cannot_work_is_refused(scope: str | list[str], words: str) -> None:
    with pytest.raises(ScopeError, match=words):
        pool_names(NAMES, scope)


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(ScopeError):
        pool_names(["log_std"], "all", outside={"log_std"})
