"""What a user reads: sentences, numbers in words, warnings."""
