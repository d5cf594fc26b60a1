"""GPQA: graduate-level science questions with four choices."""
