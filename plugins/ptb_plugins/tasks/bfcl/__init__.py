"""BFCL: one function call per question, with the right name and arguments."""
