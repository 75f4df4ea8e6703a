"""The models and all that runs them: torch on arrays and tensors, nothing of AnnData."""
