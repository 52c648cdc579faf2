"""Drives the fake Stripe with Stripe's own library, and fails where the two do not fit.

    stripe_sdk.py BASE SECRET_KEY WEBHOOK_SECRET GOLDEN_DIRECTORY [--write-golden]

Stdin and stdout belong to the test that starts this (see stage.py). What was sent must be what the golden files say;
with --write-golden they are written instead.
"""

import faulthandler
import sys
from pathlib import Path

import stripe
from stripe import IdempotencyError, InvalidRequestError

import money
import selling
import webhooks
from stage import NOW, Stage, refused


def customers(stage):
    api = stage.v1.customers
    params = {"name": "Acme & Söhne", "email": "a+b@acme.example", "metadata": {"customer_id": "acme", "a b": "ü/?&="}}
    acme = api.create(params, {"idempotency_key": "sdk:acme"})
    assert isinstance(acme, stripe.Customer) and acme.id.startswith("cus_"), acme
    assert acme.metadata.to_dict() == params["metadata"] and acme.name == params["name"], acme

    again = api.create(params, {"idempotency_key": "sdk:acme"})
    assert again.id == acme.id and again.last_response.headers["idempotent-replayed"] == "true"
    other = {**params, "name": "Somebody else"}
    refused(lambda: api.create(other, {"idempotency_key": "sdk:acme"}), IdempotencyError, status=400)
    refused(
        lambda: api.create({"nickname": "x"}),
        InvalidRequestError, status=400, code="parameter_unknown", param="nickname",
    )
    refused(lambda: api.create({"email": "nobody"}), InvalidRequestError, status=400, code="email_invalid", param="email")
    refused(
        lambda: api.retrieve("cus_none"), InvalidRequestError, status=404, code="resource_missing", param="id",
    )
    assert api.retrieve(acme.id).email == "a+b@acme.example"

    gone = api.create({"email": "gone@acme.example"})
    assert api.delete(gone.id).deleted is True
    assert api.retrieve(gone.id).deleted is True
    refused(lambda: api.delete(gone.id), InvalidRequestError, status=404, code="resource_missing", param="id")
    return acme.id


def trouble(stage):
    """The errors that are nobody's parameters' fault, and the library's own way to get over some."""
    stranger = stage.client_with("sk_test_wrong")
    refused(lambda: stranger.v1.customers.create(), stripe.AuthenticationError, status=401)
    missing = lambda: stage.client.raw_request("get", "/v1/no_such_thing")
    refused(missing, InvalidRequestError, status=404)
    stage.act("fail", "charges", 429)
    slow = refused(lambda: stage.v1.charges.list(), stripe.RateLimitError, status=429)
    assert slow.headers["retry-after"] == "1", slow.headers
    stage.act("fail", "charges", 500)
    refused(lambda: stage.v1.charges.list(), stripe.APIError, status=500)

    patient = stage.client_with(stage.key, retries=2).v1.customers
    stage.act("fail", "create_customer", "drop_after_effect")
    once = patient.create({"name": "Once"}, {"idempotency_key": "sdk:once"})
    assert once.last_response.headers["idempotent-replayed"] == "true"
    stage.act("fail", "create_customer", 409)
    assert patient.create({"name": "Once"}, {"idempotency_key": "sdk:once"}).id == once.id


def prices(stage):
    price = stage.v1.prices.retrieve("price_pro")
    assert (price.unit_amount, price.currency, price.recurring.usage_type) == (4900, "usd", "licensed"), price
    metered = stage.v1.prices.retrieve("price_overage").recurring
    assert (metered.usage_type, bool(metered.meter)) == ("metered", True), metered
    refused(
        lambda: stage.v1.prices.retrieve("price_none"),
        InvalidRequestError, status=404, code="resource_missing", param="id",
    )


def portal(stage, customer):
    api = stage.v1.billing_portal.sessions
    session = api.create({"customer": customer, "return_url": "https://app.example/billing"})
    assert isinstance(session, stripe.billing_portal.Session) and session.url.startswith("https://"), session
    assert api.create({"customer": customer, "configuration": "bpc_1", "locale": "de"}).configuration == "bpc_1"
    refused(
        lambda: api.create({"return_url": "https://app.example/"}),
        InvalidRequestError, status=400, code="parameter_missing", param="customer",
    )


def keep(path, text, write):
    if write:
        path.write_text(text, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != text:
        raise AssertionError(f"{path} is not what the library does now; PLANGATE_SDK_WRITE_GOLDEN=1 writes it anew")


def main(base, key, secret, golden, *flags):
    # Whoever waits for an answer that never comes must not wait for ever.
    faulthandler.dump_traceback_later(120, exit=True)
    stage = Stage(base, key)
    stage.act("set_now", NOW)
    customer = customers(stage)
    trouble(stage)
    prices(stage)
    selling.checkouts(stage, customer)
    subscription, told = selling.buy(stage, customer, "price_pro")
    portal(stage, customer)
    selling.changes(stage, subscription)
    selling.schedules(stage, subscription)
    trial, late = selling.endings(stage, customer)
    selling.subscription_lists(stage, customer, [subscription, trial, late])
    meter = money.meters(stage, customer)
    told += money.payments(stage, customer, subscription)
    webhooks.history(stage, told)
    webhooks.thin_events(stage, meter, secret)
    webhooks.deliveries(stage, told, secret)
    if stage.faults:
        raise AssertionError("not as the library declares it:\n" + "\n".join(stage.faults))
    write = "--write-golden" in flags
    keep(Path(golden) / "requests.json", stage.recording(customer), write)
    keep(Path(golden) / "signatures.json", webhooks.signatures(), write)


if __name__ == "__main__":
    main(*sys.argv[1:])
