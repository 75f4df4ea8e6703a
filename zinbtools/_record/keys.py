"""Name every place of an AnnData that the package writes to; `parts` names what is within ``uns[key]``."""

from __future__ import annotations

from dataclasses import dataclass

from .._words.models import MODELS

DEFAULT = "zinbtools"
ZI_COLUMNS = (
    "pval",
    "pval_adj",
    "dropout",
    "dropout_low",
    "dropout_high",
    "excess_zeros",
    "power",
    "call",
    "explained_by",
    "on_in",
    "pval_bootstrap",
    "cells_needed",
)


def is_written(layer: str) -> bool:
    """Whether a layer has a name that a fit gives, under whatever key."""
    return any(f"_{layer}".endswith(f"_{name}") for name in Keys().all_names()["layers"])


@dataclass(frozen=True)
class Keys:
    """Where the results of one fit live.

    ``key_added=None`` gives the plain names; another key replaces ``zinbtools`` in ``uns`` and
    ``obs`` and prefixes all other names, after the ``X_`` of an embedding.

    Examples
    --------
    >>> Keys().mean("nb"), Keys("run2").mean("nb"), Keys("run2").latent("nb"), Keys("run2").uns
    ('nb_mean', 'run2_nb_mean', 'X_run2_nb', 'run2')
    """

    key_added: str | None = None

    def __post_init__(self) -> None:
        key = self.key_added
        if key is not None and (not key.strip(". ") or "/" in key or not key.isprintable()):
            raise ValueError(
                "key_added must be a name that files can hold, without '/' and control characters, "
                f"found {key!r}."
            )

    @property
    def uns(self) -> str:
        return self.key_added or DEFAULT

    @property
    def split(self) -> str:
        """``obs``: train, validation or test."""
        return f"{self.uns}_split"

    @property
    def digest(self) -> str:
        """``obs``: by which the counts that were fitted are known again."""
        return f"{self.uns}_digest"

    @property
    def tuning_split(self) -> str:
        """``obs``: train, validation or test while settings were tuned."""
        return f"{self.uns}_tuning_split"

    def _prefixed(self, name: str) -> str:
        return f"{self.key_added}_{name}" if self.key_added else name

    def latent(self, model: str) -> str:
        """``obsm``: posterior mean of z; it begins with ``X_``, by which others know an embedding."""
        return f"X_{self._prefixed(model)}"

    def mean(self, model: str) -> str:
        """``layers``: mean of the NB part."""
        return self._prefixed(f"{model}_mean")

    def dropout(self, model: str = "zinb") -> str:
        """``layers``: dropout probability."""
        return self._prefixed(f"{model}_dropout")

    def marginal_ll(self, model: str) -> str:
        """``obs``: log likelihood of each evaluated cell, nats."""
        return self._prefixed(f"{model}_marginal_ll")

    def pareto_k(self, model: str) -> str:
        """``obs``: tail of the importance weights of each evaluated cell."""
        return self._prefixed(f"{model}_pareto_k")

    def inverse_dispersion(self, model: str) -> str:
        """``var``: inverse dispersion theta."""
        return self._prefixed(f"{model}_inverse_dispersion")

    def mean_dropout(self, model: str = "zinb") -> str:
        """``var``: dropout probability averaged over cells."""
        return self._prefixed(f"{model}_mean_dropout")

    def zero_fraction(self, model: str) -> str:
        """``var``: expected share of zeros, averaged over cells."""
        return self._prefixed(f"{model}_zero_fraction")

    @property
    def score(self) -> str:
        """``var``: gain of the ZINB over the NB, nats per cell."""
        return self._prefixed("zi_score")

    @property
    def score_se(self) -> str:
        return self._prefixed("zi_score_se")

    def zi(self, what: str) -> str:
        """``var``: what else is known of a gene's zero inflation, see `ZI_COLUMNS`."""
        return self._prefixed(f"zi_{what}")

    @property
    def zero_cause(self) -> str:
        """``var``: why a gene has its zeros, see `zinbtools.tl.explain_zeros`."""
        return self._prefixed("zero_cause")

    @property
    def zero_cause_margin(self) -> str:
        """``var``: gain of bursts over a dropout, nats per cell."""
        return self._prefixed("zero_cause_margin")

    @property
    def zero_cause_margin_se(self) -> str:
        return self._prefixed("zero_cause_margin_se")

    @property
    def zero_test(self) -> str:
        """``uns``: gene-wise regressions without a network."""
        return self._prefixed("zero_test")

    @property
    def reads(self) -> str:
        """``uns``: how often molecules were read."""
        return self._prefixed("reads_per_molecule")

    @property
    def reads_columns(self) -> tuple[str, str, str, str]:
        """``obs``: reads per molecule of the cell, the ends of its interval, and molecules."""
        of_ends = (f"{self.reads}_low", f"{self.reads}_high")
        return (self.reads, *of_ends, self._prefixed("n_molecules"))

    def all_names(self) -> dict[str, list[str]]:
        """Every name that a fit and what follows it may write, by place."""
        return {
            "obsm": [self.latent(m) for m in MODELS],
            "layers": [*(self.mean(m) for m in MODELS), self.dropout()],
            "obs": [
                self.split,
                self.digest,
                *(key(m) for m in MODELS for key in (self.marginal_ll, self.pareto_k)),
            ],
            "var": [
                *(self.inverse_dispersion(m) for m in MODELS),
                *(self.zero_fraction(m) for m in MODELS),
                self.mean_dropout(),
                self.score,
                self.score_se,
                *(self.zi(what) for what in ZI_COLUMNS),
                self.zero_cause,
                self.zero_cause_margin,
                self.zero_cause_margin_se,
            ],
        }
