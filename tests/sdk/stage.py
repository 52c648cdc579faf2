"""The fake at the other end: its HTTP interface through the SDK, and the acts of customers and banks through a pipe.

Both are written down in their order, so that they can be played again without the SDK.
"""

import inspect
import json
import sys

import stripe

import shapes

# Where the fake's clock stands from the beginning to the end: 2026-03-10T12:00:00Z.
NOW = 1_773_144_000
HOUR, DAY = 3_600, 86_400

# What has to be different in every run and in every place that a recording names it: the middle of every id.
RUN = "{run}"


class Stage:
    def __init__(self, base, key):
        self.base = base
        self.key = key
        self.steps = []
        self.faults = []
        self.client = self.client_with(key)
        # What the tests use; all that is taken there must be declared, too.
        self.v1 = _Declared(self, self.client.v1)

    def client_with(self, key, retries=0):
        """A client of the SDK that reaches the fake, and whose requests are written down."""
        return stripe.StripeClient(
            key,
            base_addresses={"api": self.base},
            http_client=_Recorder(self, timeout=20),
            max_network_retries=retries,
        )

    def act(self, name, *arguments):
        """Something happens at Stripe. Returns what the fake tells about it, events mostly."""
        self.steps.append({"act": [name, *arguments]})
        return self.ask(name, *arguments)

    @staticmethod
    def ask(name, *arguments):
        """The same for what changes nothing and need not be played again."""
        print(json.dumps([name, *arguments]), flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise EOFError(f"nobody answers {name}")
        return json.loads(answer)

    def recording(self, an_id):
        """The steps, with the run's part of the ids taken out."""
        run = an_id.split("_")[-1][:-5]
        steps = [json.dumps(step, ensure_ascii=False) for step in self.steps]
        return "[\n" + ",\n".join(steps).replace(run, RUN) + "\n]\n"

    def note(self, method, url, headers, body, answer):
        step = {"send": f"{method.upper()} {url.removeprefix(self.base)}"}
        if body:
            step["body"] = body
        # The SDK makes a random one for every write.
        if headers.get("Idempotency-Key", "").startswith("sdk:"):
            step["idempotency_key"] = headers["Idempotency-Key"]
        if headers["Authorization"] != f"Bearer {self.key}":
            step["key"] = headers["Authorization"].removeprefix("Bearer ")
        step["answer"] = answer
        self.steps.append(step)

    def check_shape(self, body, api_mode="V1"):
        answer = self.client.deserialize(body, api_mode=api_mode)
        for fault in shapes.faults(answer):
            if fault not in self.faults:
                self.faults.append(fault)


class _Declared:
    """A service of the SDK that notes parameters which were taken although the SDK does not know them."""

    def __init__(self, stage, service):
        self._stage = stage
        self._service = service

    def __getattr__(self, name):
        inner = getattr(self._service, name)
        return self._method(inner) if inspect.ismethod(inner) else _Declared(self._stage, inner)

    def _method(self, method):
        def call(*arguments):
            answer = method(*arguments)
            params = inspect.signature(method).bind(*arguments).arguments.get("params")
            if params is not None and not shapes.takes(method, params):
                self._stage.faults.append(f"{method.__qualname__} does not take {params}")
            return answer

        return call


class _Recorder(stripe.RequestsClient):
    """The SDK's own HTTP client with a notebook."""

    def __init__(self, stage, **options):
        super().__init__(**options)
        self._stage = stage

    def request(self, method, url, headers, post_data=None):
        try:
            content, status, received = super().request(method, url, headers, post_data)
        except stripe.APIConnectionError:
            self._stage.note(method, url, headers, post_data, "none")
            raise
        answer = json.loads(content)
        if status == 200:
            self._stage.check_shape(answer, "V2" if "/v2/" in url else "V1")
        self._stage.note(method, url, headers, post_data, f"{status} {_summary(answer)}".rstrip())
        return content, status, received


def _summary(answer):
    """What an answer is, in a few words."""
    if error := answer.get("error"):
        words = [error.get(name) for name in ("type", "code", "param")]
    else:
        words = [answer.get("object"), "deleted" if answer.get("deleted") else None, answer.get("status")]
    return " ".join(word for word in words if word)


def refused(call, kind, *, status, code=None, param=None):
    """`call` must end with the SDK's error of just this kind."""
    try:
        answer = call()
    except stripe.StripeError as error:
        seen = (type(error), error.http_status, error.code, getattr(error, "param", None))
        if seen != (kind, status, code, param):
            raise AssertionError(f"refused with {seen}: {error}") from error
        return error
    raise AssertionError(f"not refused: {answer}")
