"""The engine ``vllm``: ``vllm serve`` on a unix socket of the session.

``engine`` runs in the supervisor. ``launcher`` runs in the session under the interpreter that
holds vLLM, which need not hold this project: it and the modules it imports need nothing but
Python, travel as files, and become ``vllm serve`` by ``exec``.
"""
