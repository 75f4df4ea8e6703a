"""Nothing here is a test; `--doctest-modules` would import it all, scvi-tools included."""

collect_ignore_glob = ["*.py"]
