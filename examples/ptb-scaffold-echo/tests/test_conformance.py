from ptb_core.testing import ScaffoldConformance


class TestEcho(ScaffoldConformance):
    name = "echo"
