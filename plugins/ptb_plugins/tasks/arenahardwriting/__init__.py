"""Arena-Hard-v2.0, writing: two games against a fixed opponent, decided by an outside LLM."""
