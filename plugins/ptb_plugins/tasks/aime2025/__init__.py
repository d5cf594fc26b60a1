"""AIME 2025: competition problems whose answers are integers from 0 to 999."""
