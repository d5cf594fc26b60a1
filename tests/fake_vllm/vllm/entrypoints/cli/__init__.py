"""A stand-in for vLLM that misbehaves on demand."""
