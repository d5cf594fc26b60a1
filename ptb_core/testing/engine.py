"""What every engine promises: a server on a unix socket that answers, obeys limits and ends."""

from __future__ import annotations

import http.client
import json
import secrets
import shutil
import socket
import tempfile
import unittest
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ptb_core.catalogue import load_catalogue
from ptb_core.errors import CheckpointError
from ptb_core.evaluation.engine_mounts import engine_mounts
from ptb_core.interfaces import Endpoint, Engine, Sandbox, ServeRequest, Session
from ptb_core.sandboxing import Mount, SandboxRequest
from ptb_core.specs import JsonValue, ModelSpec
from ptb_core.testing.component import ComponentConformance, remove_tree
from ptb_core.testing.expectation import expect, expect_error
from ptb_core.testing.material import model_spec, tiny_checkpoint, tiny_template

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
REPLY_S = 120.0

_QUESTION = [{"role": "user", "content": "What is 2 + 3? End with a line ANSWER: value."}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A running server.

    Attributes:
        endpoint: Where it listens.
        session: The session it runs in.
        sandbox: The sandbox of that session.
        folder: Folder of the session's files.
    """

    endpoint: Endpoint
    session: Session
    sandbox: Sandbox
    folder: Path


class EngineConformance(ComponentConformance[Engine]):
    """Checks of an engine on a real small model; all but a few share one server.

    Attributes:
        settings: What a plan would set; merged over the declared defaults.
        sandbox: Registered name of the sandbox to serve in; by default the first usable one that
            plays the role ``serve`` without network.
        checkpoint: Folder of the checkpoint to serve; by default the shipped model's.
        template: Its chat template.
        context_tokens: Longest prompt plus answer.
    """

    kind = "engine"
    settings: Mapping[str, JsonValue] = {}
    sandbox: str = ""
    context_tokens: int = 512
    limit_s: ClassVar[float] = 600
    _shared: ClassVar[Served | None] = None

    def checkpoint(self) -> Path:
        """Return the folder of a checkpoint that this engine must be able to serve."""
        return tiny_checkpoint()

    def template(self) -> Path:
        """Return the chat template of that checkpoint."""
        return tiny_template()

    def model(self) -> ModelSpec:
        """Return the facts of the base model of that checkpoint."""
        return model_spec(chat_template=str(self.template()), context_tokens=self.context_tokens)

    @classmethod
    def teardown_class(cls) -> None:
        """End the server that the checks shared."""
        if cls._shared is not None:
            _end(cls._shared)
            cls._shared = None

    # Serving ------------------------------------------------------------------------------

    def test_the_server_is_ready_when_serve_returns(self) -> None:
        """``GET /health`` answers 200 as soon as serve() has returned."""
        status, _ = self._get("/health")
        expect(status == 200, f"/health must answer 200 once serve() returned; it answers {status}")

    def test_the_endpoint_is_complete(self) -> None:
        """The endpoint names a socket of the session, a running process and a model."""
        served = self._served()
        endpoint: object = served.endpoint
        expect(isinstance(endpoint, Endpoint), f"serve() must return an Endpoint, not {endpoint!r}")
        assert isinstance(endpoint, Endpoint)
        state = served.session.poll(endpoint.process).state
        expect(state == "running", f"the endpoint's process must run; it is {state}")
        expect(endpoint.socket.is_socket(), f"{endpoint.socket} must be a socket; it is none")
        expect(endpoint.model_name, "the endpoint must name its model; the name is empty")
        for name in ("batch_size", "max_in_flight"):
            number = getattr(endpoint, name)
            expect(number is None or number >= 1, f"{name} must be 1 or more, or None: {number!r}")

    def test_fixed_batches_are_declared_as_they_are(self) -> None:
        """An engine of fixed batches says how large they are."""
        declared = self.component.spec.fixed_batches
        size = self._served().endpoint.batch_size
        expect(
            declared == (size is not None),
            f"batch_size must be given exactly when fixed_batches is declared ({declared}); it is "
            f"{size}",
        )

    def test_it_serves_without_network(self) -> None:
        """The server answers in a session whose network policy is ``none``."""
        status, reply = self._chat()
        expect(status == 200, f"a server must work without network; it answers {status}: {reply}")

    def test_what_it_needs_of_this_machine_is_told(self) -> None:
        """obstacles() gives sentences, none where it serves; host_folders() gives real folders."""
        obstacles: object = self.component.obstacles(self._settings())
        expect(
            obstacles == (),
            f"obstacles() must return () where the engine is checked; it returned {obstacles!r}",
        )
        for folder in self.component.host_folders(self._settings()):
            expect(
                isinstance(folder, Path) and folder.is_absolute() and folder.is_dir(),
                f"host_folders() must return absolute paths of folders; it returned {folder!r}",
            )

    # Answers ------------------------------------------------------------------------------

    def test_a_chat_completion_has_the_known_form(self) -> None:
        """A reply has choices with message, role, content and finish_reason, and usage."""
        choice = self._choice()
        message = choice.get("message")
        expect(
            isinstance(message, dict) and message.get("role") == "assistant",
            f"a choice must have a message of the role 'assistant'; it has {message!r:.100}",
        )
        assert isinstance(message, dict)
        expect(
            isinstance(message.get("content"), str),
            f"a message's content must be a text; it is {message.get('content')!r:.80}",
        )
        found = choice.get("finish_reason")
        expect(found in ("stop", "length"), f"finish_reason must be stop or length, not {found!r}")

    def test_usage_is_counted(self) -> None:
        """A reply tells the tokens of prompt and answer."""
        _, reply = self._chat(max_tokens=5)
        usage = reply.get("usage") or {}
        counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
        expect(
            all(isinstance(count, int) and count > 0 for count in counts),
            f"usage must count the tokens of prompt and answer; it says {counts}",
        )
        expect((counts[1] or 0) <= 5, f"5 tokens were allowed; usage counts {counts[1]}")

    def test_greedy_answers_repeat(self) -> None:
        """The same question at temperature 0 has the same answer twice."""
        first, second = self._text(), self._text()
        expect(
            first == second,
            f"greedy answers must repeat; they were {first[:80]!r} and {second[:80]!r}",
        )

    def test_max_tokens_cuts_an_answer(self) -> None:
        """An answer that reaches ``max_tokens`` ends with finish_reason ``length``."""
        choice = self._choice(max_tokens=1)
        found = choice.get("finish_reason")
        expect(found == "length", f"an answer cut at 1 token must end with 'length', not {found!r}")

    def test_a_turn_end_token_ends_an_answer(self) -> None:
        """With room to spare a trained model's answer ends with ``stop``, without the token."""
        choice = self._choice(stop_token_ids=self._stop_ids(), max_tokens=200)
        text = choice["message"]["content"]
        tokens = self.model().turn_end_tokens
        expect(
            not any(token in text for token in tokens),
            f"an answer must not hold its end token; it is {text[-60:]!r}",
        )

    def test_several_requests_at_once_are_answered(self) -> None:
        """Requests that arrive together all get the answer that each gets alone."""
        from concurrent.futures import ThreadPoolExecutor

        alone = self._text()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: self._text(), range(4)))
        expect(
            all(isinstance(text, str) and text for text in found) or alone == "",
            f"4 requests at once must all be answered; got {found!r:.200}",
        )

    # Refusals -----------------------------------------------------------------------------

    def test_a_bad_request_is_refused_and_harms_nothing(self) -> None:
        """Broken bodies get a status of 400 to 499, and the server goes on."""
        for name, body in _BAD_BODIES.items():
            status, _ = self._post(CHAT, body)
            expect(
                400 <= status < 500,
                f"a body that {name} must be refused with 400 to 499; it got {status}",
            )
        status, _ = self._chat()
        expect(status == 200, f"after bad requests a server must go on; it answers {status}")

    def test_a_prompt_that_is_too_long_is_refused_with_400(self) -> None:
        """A prompt over the context gets status 400 and words."""
        content = "many words " * (4 * self.context_tokens)
        status, reply = self._chat(messages=[{"role": "user", "content": content}])
        expect(status == 400, f"a prompt over the context must get status 400; it got {status}")
        expect(reply, "a refusal must say why; it is empty")

    def test_an_unknown_route_is_refused(self) -> None:
        """A route that does not exist gets 404 or another status of 400 to 499."""
        status, _ = self._post("/v1/no-such-route", b"{}")
        expect(400 <= status < 500, f"an unknown route must get 400 to 499; it got {status}")

    def test_log_probabilities_are_given_where_declared(self) -> None:
        """With ``echo`` and ``logprobs`` the prompt's own log-probabilities come back."""
        if not self.component.spec.log_probabilities:
            raise unittest.SkipTest("its manifest does not declare log_probabilities")
        body = {"prompt": "two and two", "max_tokens": 1, "echo": True, "logprobs": 1}
        status, reply = self._ask(TEXT, body)
        expect(status == 200, f"a request with logprobs must be answered; got {status}: {reply}")
        numbers = reply["choices"][0]["logprobs"]["token_logprobs"]
        expect(
            len(numbers) > 1 and all(number <= 0 for number in numbers if number is not None),
            f"token_logprobs must be logarithms of probabilities; they are {numbers!r:.200}",
        )

    # Checkpoints and ends -----------------------------------------------------------------

    def test_a_broken_checkpoint_is_the_checkpoints_fault(self) -> None:
        """serve() of weights that are none raises CheckpointError and leaves no server."""
        broken = self.tmp / "broken"
        shutil.copytree(self.checkpoint(), broken, copy_function=shutil.copyfile)
        for path in broken.glob("*.safetensors"):
            path.write_bytes(b"\xff" * 64 + path.read_bytes()[64:])
        session = self._open(broken, self.tmp / "session")
        self.after.callback(session.close)
        expect_error(
            CheckpointError,
            "serve() of a checkpoint with broken weights",
            lambda: self.component.serve(self._request(session), session),
        )

    def test_the_server_ends_with_its_session(self) -> None:
        """After the session is closed nothing answers on the socket."""
        served = self._serve(self.checkpoint(), self.tmp / "session")
        served.session.close()
        try:
            status, _ = _exchange(served.endpoint.socket, "GET", "/health", None)
        except OSError:
            return
        expect(False, f"a closed session's server must be gone; /health answers {status}")

    # Parts --------------------------------------------------------------------------------

    def _served(self) -> Served:
        cls = type(self)
        if cls._shared is None:
            folder = Path(tempfile.mkdtemp(prefix="ptb-check-engine-"))
            cls._shared = self._serve(self.checkpoint(), folder)
        return cls._shared

    def _serve(self, checkpoint: Path, folder: Path) -> Served:
        session = self._open(checkpoint, folder)
        try:
            endpoint = self.component.serve(self._request(session), session)
        except BaseException:
            session.close()
            raise
        return Served(endpoint=endpoint, session=session, sandbox=self._sandbox(), folder=folder)

    def _open(self, checkpoint: Path, folder: Path) -> Session:
        return self._sandbox().open(
            SandboxRequest(
                name=f"check-{secrets.token_hex(6)}",
                role="serve",
                root=folder / "sandbox",
                mounts=(
                    Mount(name="checkpoint", source=checkpoint.resolve()),
                    Mount(name="chat_template", source=self.template().resolve()),
                    *engine_mounts(self.component, self._settings(), None),
                ),
                network="none",
            )
        )

    def _sandbox(self) -> Sandbox:
        catalogue = load_catalogue()
        if self.sandbox:
            return catalogue.sandbox(self.sandbox)
        for name in catalogue.names("sandbox"):
            if catalogue.unusable_reason("sandbox", name) is None:
                found = catalogue.sandbox(name)
                if "serve" in found.spec.roles and "none" in found.spec.network_policies:
                    return found
        raise unittest.SkipTest("no sandbox of this machine can play the role serve")

    def _request(self, session: Session) -> ServeRequest:
        return ServeRequest(
            checkpoint=session.inside("checkpoint"),
            tokenizer=session.inside("checkpoint"),
            generation_config=session.inside("checkpoint"),
            chat_template=session.inside("chat_template"),
            model=self.model(),
            max_context_tokens=self.context_tokens,
            template_date="2026-01-01",
            settings=self._settings(),
        )

    def _settings(self) -> dict[str, JsonValue]:
        declared = {setting.name: setting.default for setting in self.component.spec.settings}
        return declared | dict(self.settings)

    def _stop_ids(self) -> list[int]:
        content = json.loads((self.checkpoint() / "tokenizer.json").read_bytes())
        tokens = self.model().turn_end_tokens
        return [item["id"] for item in content["added_tokens"] if item["content"] in tokens]

    def _chat(self, **fields: JsonValue) -> tuple[int, dict[str, JsonValue]]:
        body = {"messages": _QUESTION, "max_tokens": 24, "temperature": 0}
        return self._ask(CHAT, body | fields)

    def _choice(self, **fields: JsonValue) -> dict[str, JsonValue]:
        status, reply = self._chat(**fields)
        choices = reply.get("choices")
        expect(
            status == 200 and isinstance(choices, list) and len(choices) == 1,
            f"a chat completion must have one choice; status {status}, reply {reply!r:.200}",
        )
        assert isinstance(choices, list)
        return dict(choices[0])

    def _text(self) -> str:
        return str(self._choice()["message"]["content"])

    def _ask(self, route: str, body: Mapping[str, JsonValue]) -> tuple[int, dict[str, JsonValue]]:
        named = {"model": self._served().endpoint.model_name, **body}
        status, content = self._post(route, json.dumps(named).encode())
        try:
            reply = json.loads(content)
        except ValueError:
            reply = {"text": content.decode("utf-8", "replace")}
        return status, reply if isinstance(reply, dict) else {"reply": reply}

    def _post(self, route: str, body: bytes) -> tuple[int, bytes]:
        return _exchange(self._served().endpoint.socket, "POST", route, body)

    def _get(self, route: str) -> tuple[int, bytes]:
        return _exchange(self._served().endpoint.socket, "GET", route, None)


_BAD_BODIES: Mapping[str, bytes] = {
    "is empty": b"",
    "is no JSON": b'{"messages": ',
    "is a list": b"[]",
    "is no UTF-8": b"\xff\xfe",
    "has no messages": b'{"model": "x"}',
    "has messages of a wrong type": b'{"model": "x", "messages": "hello"}',
    "has a negative max_tokens": (
        b'{"model": "x", "messages": [{"role": "user", "content": "a"}], "max_tokens": -1}'
    ),
}


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("engine", timeout=REPLY_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(REPLY_S)
        self.sock.connect(str(self._path))


def _exchange(path: Path, method: str, route: str, body: bytes | None) -> tuple[int, bytes]:
    connection = _UnixConnection(path)
    try:
        connection.request(method, route, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _end(served: Served) -> None:
    served.session.close()
    remove_tree(served.folder)
    shutil.rmtree(served.folder, ignore_errors=True)
