"""The scopes actor and critic."""

from __future__ import annotations

import pytest

from lottery_core.errors import ScopeError
from sb3_lottery.models.algorithms import algorithm
from sb3_lottery.models.scopes import scope_words


def test_words_of_a_scope() -> None:
    assert scope_words("all", algorithm("dqn")) == ("all",)
    assert scope_words(["actor", "x"], algorithm("td3")) == (r"^actor\.", "x")
    with pytest.raises(ScopeError, match="scope 'critic': QRDQN has no actor and critic"):
        scope_words("critic", algorithm("qrdqn"))
