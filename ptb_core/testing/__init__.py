"""For tests of plugins: conformance suites, and distributions installed on the spot."""
