"""Hydra and its grammar fill caches when options become a configuration for the first time: 0.3 s of every fork."""

import warnings

from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.options import get_training_parser, parse_args_and_arch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what fairseq uses in Hydra
    convert_namespace_to_omegaconf(parse_args_and_arch(get_training_parser(), ["no-data", "--arch", "transformer"]))
