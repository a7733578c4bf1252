"""This project as fairseq's user-dir, and the configurations of the tests' usual commands."""

from __future__ import annotations

from argparse import Namespace
from shlex import split

from fairseq.utils import import_user_module

from tests.preloaded.commands import USER_DIR
from tests.preloaded.parse_once import warm

import_user_module(Namespace(user_dir=str(USER_DIR)))

# Here, for the tests' helpers import what a parent must not have loaded.
_TRANSLATION = split("--task lottery_translation --criterion lottery_label_smoothed_cross_entropy")
_LANGUAGE_MODEL = split("--task lottery_language_modeling --criterion lottery_cross_entropy")
warm(
    [*_TRANSLATION, *split("--arch transformer --optimizer adam")],
    [*_LANGUAGE_MODEL, *split("--arch transformer_lm --optimizer adam")],
    [*_LANGUAGE_MODEL, *split("--arch lottery_lstm_lm --optimizer adam")],
)
