"""The fake Razorpay at the other end: its HTTP interface through the SDK, and the acts of customers and banks through a pipe.

Both are written down in their order, so that they can be played again without the SDK.
"""

import json
import sys

import razorpay
import requests

import razorpay_shapes

# Where the fake's clock stands from the beginning to the end: 2026-01-31T10:00:00Z.
NOW = 1_769_853_600
DAY = 86_400

# What has to be different in every run and in every place that a recording names it: the middle of every id.
RUN = "{run}"

# The SDK prints what it thinks of broken connections. The pipe is not for that.
_PIPE, sys.stdout = sys.stdout, sys.stderr


class Stage:
    def __init__(self, base, key_id, key_secret):
        self.base = base
        self.key = (key_id, key_secret)
        self.steps = []
        self.faults = []
        self.client = self.client_with(self.key)

    def client_with(self, key, **options):
        """A client of the SDK that reaches the fake, and whose requests are written down."""
        return razorpay.Client(session=_Recorder(self), auth=key, base_url=self.base, **options)

    def act(self, name, *arguments):
        """Something happens at Razorpay. Returns what the fake tells about it, events mostly."""
        self.steps.append({"act": [name, *arguments]})
        return self.ask(name, *arguments)

    @staticmethod
    def ask(name, *arguments):
        """The same for what changes nothing and need not be played again."""
        print(json.dumps([name, *arguments]), file=_PIPE, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise EOFError(f"nobody answers {name}")
        return json.loads(answer)

    def recording(self, an_id):
        """The steps, with the run's part of the ids taken out."""
        run = an_id.split("_")[-1][:-5]
        steps = [json.dumps(step, ensure_ascii=False) for step in self.steps]
        return "[\n" + ",\n".join(steps).replace(run, RUN) + "\n]\n"

    def note(self, request, answer):
        step = {"send": f"{request.method} {request.path_url}"}
        if request.body:
            step["body"] = request.body
        if key := request.headers.get("X-Refund-Idempotency"):
            step["refund_key"] = key
        if request.headers["Authorization"] != requests.auth._basic_auth_str(*self.key):
            step["authorization"] = request.headers["Authorization"]
        step["answer"] = answer
        self.steps.append(step)

    def check_shape(self, body):
        for fault in razorpay_shapes.faults(body):
            if fault not in self.faults:
                self.faults.append(fault)


class _Recorder(requests.Session):
    """The session that the SDK would make, with a notebook."""

    def __init__(self, stage):
        super().__init__()
        self.trust_env = False
        self._stage = stage

    def send(self, request, **options):
        try:
            response = super().send(request, timeout=20, **{k: v for k, v in options.items() if k != "timeout"})
        except requests.exceptions.ConnectionError:
            self._stage.note(request, "none")
            raise
        answer = response.json()
        if response.status_code == 200:
            self._stage.check_shape(answer)
        self._stage.note(request, f"{response.status_code} {_summary(answer)}".rstrip())
        return response


def _summary(answer):
    """What an answer is, in a few words."""
    if error := answer.get("error"):
        words = [error.get(name) for name in ("code", "field", "description")]
    else:
        words = [answer.get(name) for name in ("entity", "status", "count")]
    return " ".join(str(word) for word in words if word is not None)


def refused(call, error, words):
    """The call must fail, and say so."""
    try:
        answer = call()
    except error as refusal:
        assert type(refusal) is error and words in str(refusal), (type(refusal), str(refusal))
        return
    raise AssertionError(f"accepted: {answer}")
