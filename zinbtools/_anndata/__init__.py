"""The only door to AnnData: counts, covariates, genes and cells come in, results go out."""
