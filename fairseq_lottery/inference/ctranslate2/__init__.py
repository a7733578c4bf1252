"""Translation models for CTranslate2: converted by its own converter, checked against fairseq's translations."""

from fairseq_lottery.inference.ctranslate2.convert import convert, convert_files, require_package

__all__ = ["convert", "convert_files", "require_package"]
