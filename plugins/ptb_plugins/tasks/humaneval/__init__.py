"""HumanEval: code extraction, programs to run, and scoring, published and repaired."""
