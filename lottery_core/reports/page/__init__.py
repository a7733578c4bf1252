"""The page of experiments: answer, curves, masks, learning curves, costs and warnings in one file that needs no network."""

from lottery_core.reports.page.layers import InputsOf
from lottery_core.reports.page.subject import Answer, Contrast, Subject, subject_of
from lottery_core.reports.page.write import check_page, render_page, write_page

__all__ = ["Answer", "Contrast", "InputsOf", "Subject", "check_page", "render_page", "subject_of", "write_page"]
