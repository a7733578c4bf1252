"""The LSTM language model of arXiv 1906.02768, and text streams for truncated backpropagation through time."""

from fairseq_lottery.language_model.lstm import LotteryLstmLm
from fairseq_lottery.language_model.streams import LanguageModelingOptions, StreamTask

__all__ = ["LanguageModelingOptions", "LotteryLstmLm", "StreamTask"]
