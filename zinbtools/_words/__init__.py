"""What a user reads: answers, names of models, numbers in words, warnings."""
