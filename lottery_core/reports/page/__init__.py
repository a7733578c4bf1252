"""The page about experiments: answer, curves, masks, costs, warnings and configuration in one self-contained file."""

from lottery_core.reports.page.layers import InputsOf
from lottery_core.reports.page.subject import Contrast, PageAnswer, Subject, answered, subject_of
from lottery_core.reports.page.write import check_page, render_page, write_page

__all__ = [
    "Contrast",
    "InputsOf",
    "PageAnswer",
    "Subject",
    "answered",
    "check_page",
    "render_page",
    "subject_of",
    "write_page",
]
