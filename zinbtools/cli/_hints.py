"""Say in the language of the shell what the library says in that of Python."""

from __future__ import annotations

import re

# Arguments whose option has another name than they have.
_NAMES = {
    "n_restarts": "--restarts",
    "rng": "--seed",
    "categorical_covariate_keys": "--categorical-covariates",
    "continuous_covariate_keys": "--continuous-covariates",
    "split": "--test-share",
}
_SAME = (
    "layer",
    "modality",
    "batch_key",
    "groupby",
    "min_detection",
    "n_top_genes",
    "max_epochs",
    "protocol",
    "config",
    "folds",
    "cells",
    "counts",
    "rope",
    "alpha",
    "negligible_dropout",
    "smallest_dropout",
    "device",
    "n_jobs",
    "n_samples",
    "max_evals",
    "max_queue_len",
    "space",
    "resume",
)
_OPTIONS = {name: f"--{name.replace('_', '-')}" for name in _SAME} | _NAMES
_NAME = "|".join(sorted(_OPTIONS, key=len, reverse=True))
_BEFORE = r"(?<![\w.'/\\-])"  # no part of a path, of a longer name or of something quoted
_PHRASES = (
    (r"layer=None \(X\)", "X (leave out --layer)"),
    (r"transpose=True", "--transpose"),
    (r"adata\.raw\.to_adata\(\)", "--raw"),
    (r"[\w.\[\]']+ = np\.rint\([^)]*\), or check_counts=False where it can be given", "--round"),
    (r"call adata\.var_names_make_unique\(\)", "add --var-names-make-unique"),
    (r"is not in adata\.layers", "is not among the layers"),
    (r"is not in adata\.obs", "is no column of obs"),
    (r"; import them under different key_added", "; evaluate each by itself"),
    (r"let retrain=True train pairs of its own", "let zinbtools study train pairs of its own"),
    (r"adata\.X", "X"),
    (r"\badata has\b", "the file has"),
)


def in_shell(text: str) -> str:
    """Name options in the place of arguments.

    Examples
    --------
    >>> in_shell("give raw counts: perhaps layer='counts' or adata.raw.to_adata()")
    'give raw counts: perhaps --layer counts or --raw'
    >>> in_shell("folds must be 1, or 3 or more, found 2.")
    '--folds must be 1, or 3 or more, found 2.'
    >>> in_shell("batch_key 'donor': batch 'd7' has one cell")
    "--batch-key 'donor': batch 'd7' has one cell"
    """
    for pattern, phrase in _PHRASES:
        text = re.sub(pattern, phrase, text)

    def option(found: re.Match[str]) -> str:
        return _OPTIONS[found["name"]]

    text = re.sub(rf"{_BEFORE}(?P<name>{_NAME})=(?=\S)", lambda found: f"{option(found)} ", text)
    text = re.sub(r"(--[a-z-]+) '([^'\s]+)'(?=[\s,;.]|$)(?!:)", r"\1 \2", text)
    first = re.sub(rf"^(?P<name>{_NAME})(?=:| must\b)", option, text)
    # Elsewhere such a word is an argument only if it is none of English.
    return re.sub(rf"{_BEFORE}(?P<name>{_NAME})(?![\w='/-]|\.\w)", _unless_english, first)


def _unless_english(found: re.Match[str]) -> str:
    return _OPTIONS[found["name"]] if "_" in found["name"] else found["name"]
