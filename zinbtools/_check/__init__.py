"""Arguments and seeds: what a user may give, held against the signature before any work."""
