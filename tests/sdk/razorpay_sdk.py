"""Drives the fake Razorpay with Razorpay's own library, and fails where the two do not fit.

    razorpay_sdk.py BASE KEY_ID KEY_SECRET WEBHOOK_SECRET GOLDEN_DIRECTORY [--write-golden]

Stdin and stdout belong to the test that starts this (see razorpay_stage.py). What was sent must be what the golden files
say; with --write-golden they are written instead.
"""

import faulthandler
import hashlib
import hmac
import json
import sys
from pathlib import Path

from razorpay_stage import DAY, NOW, Stage, refused  # First: it takes the pipe away from print().

import razorpay
import requests
from razorpay.errors import BadRequestError, ServerError, SignatureVerificationError


def customers(stage):
    api = stage.client.customer
    params = {"name": "Acme", "email": "a@acme.example", "fail_existing": "0", "notes": {"customer_id": "acme"}}
    acme = api.create(params)
    assert acme["id"].startswith("cust_") and acme["notes"] == params["notes"], acme
    assert api.create(params) == acme
    refused(lambda: api.create({**params, "fail_existing": "1"}), BadRequestError, "already exists")
    refused(lambda: api.create({**params, "email": "nobody"}), BadRequestError, "valid email")
    refused(lambda: api.create({**params, "metadata": {}}), BadRequestError, "should not be sent")


def trouble(stage):
    """The errors that are nobody's parameters' fault, and what the library's own retries do."""
    stranger = stage.client_with((stage.key[0], "wrong"))
    refused(lambda: stranger.plan.fetch("plan_pro"), BadRequestError, "Authentication failed")
    refused(lambda: stage.client.order.fetch("order_1"), BadRequestError, "not found on the server")
    stage.act("fail", "plan", 500)
    refused(lambda: stage.client.plan.fetch("plan_pro"), ServerError, "trouble")
    stage.act("fail", "plan", 429)
    refused(lambda: stage.client.plan.fetch("plan_pro"), BadRequestError, "Too many requests")
    stage.act("fail", "create_subscription", "drop_after_effect")
    lost = {"plan_id": "plan_pro", "total_count": 12, "notes": {"attempt": "lost"}}
    refused(lambda: stage.client.subscription.create(lost), requests.exceptions.ConnectionError, "")
    found = stage.client.subscription.all({"plan_id": "plan_pro", "from": NOW, "count": 100})
    assert [item["notes"] for item in found["items"]] == [{"attempt": "lost"}], found

    # There are no idempotency keys: who does not look first creates twice.
    eager = stage.client_with(stage.key, max_retries=2, initial_delay=0, jitter=0)
    eager.enable_retry(True)
    stage.act("fail", "create_subscription", "drop_after_effect")
    eager.subscription.create({"plan_id": "plan_pro", "total_count": 12, "notes": {"attempt": "twice"}})
    found = stage.client.subscription.all({"plan_id": "plan_pro"})
    assert [item["notes"]["attempt"] for item in found["items"]] == ["twice", "twice", "lost"], found


def selling(stage):
    """Returns a subscription that is paid for, and the events of it."""
    plan = stage.client.plan.fetch("plan_pro")
    assert (plan["item"]["amount"], plan["item"]["currency"], plan["period"]) == (399_900, "INR", "monthly"), plan
    refused(lambda: stage.client.plan.fetch("plan_none"), BadRequestError, "does not exist")

    api = stage.client.subscription
    params = {"plan_id": "plan_pro", "total_count": 120, "quantity": 1, "customer_notify": True, "expire_by": NOW + DAY}
    created = api.create({**params, "notes": {"customer_id": "acme"}})
    assert created["status"] == "created" and created["short_url"].startswith("https://"), created
    assert created["customer_id"] is None and created["expire_by"] == NOW + DAY, created
    for wrong, words in (
        ({"plan_id": None}, "required"),
        ({"total_count": None}, "required"),
        ({"total_count": 1_201}, "greater than 1200"),
        ({"start_at": NOW}, "greater than the current time"),
        ({"expire_by": "tomorrow"}, "integer"),
        ({"customer_id": "cust_1"}, "should not be sent"),
    ):
        refused(lambda: api.create({**params, **wrong}), BadRequestError, words)
    told = stage.act("pay_checkout", created["id"])
    assert names(told) == ["subscription.authenticated", "subscription.activated", "subscription.charged"], told
    active = api.fetch(created["id"])
    assert (active["status"], active["paid_count"]) == ("active", 1) and active["customer_id"], active
    # February ends early, and the day comes back.
    assert active["current_end"] == NOW + 28 * DAY, active
    told += stage.act("end_period", created["id"])
    assert api.fetch(created["id"])["current_end"] == NOW + 59 * DAY
    refused(lambda: api.fetch("sub_none"), BadRequestError, "does not exist")
    refused(lambda: api.all({"count": 101}), BadRequestError, "greater than 100")
    return created["id"], told


def lifecycle(stage, paid):
    api = stage.client.subscription
    assert api.pause(paid, {"pause_at": "now"})["status"] == "paused"
    refused(lambda: api.pause(paid, {"pause_at": "now"}), BadRequestError, "cannot be paused")
    assert api.resume(paid, {"resume_at": "now"})["status"] == "active"
    refused(lambda: api.resume(paid, {"resume_at": "now"}), BadRequestError, "cannot be resumed")
    told = stage.act("fail_renewal", paid)
    assert api.fetch(paid)["status"] == "pending"
    told += stage.act("halt", paid)
    assert api.fetch(paid)["status"] == "halted"
    told += stage.act("pay_overdue", paid)

    before = api.fetch(paid)
    assert api.cancel(paid, {"cancel_at_cycle_end": 1}) == before
    assert api.cancel(paid, {"cancel_at_cycle_end": True}) == before == api.fetch(paid)
    told += stage.act("end_period", paid)
    ended = api.fetch(paid)
    assert (ended["status"], ended["ended_at"]) == ("cancelled", before["current_end"]), ended
    refused(lambda: api.cancel(paid, {"cancel_at_cycle_end": 0}), BadRequestError, "not cancellable in cancelled")

    later = {"plan_id": "plan_pro", "total_count": 2, "start_at": NOW + 14 * DAY}
    trial = api.create(later)["id"]
    refused(lambda: api.cancel(trial, {"cancel_at_cycle_end": 1}), BadRequestError, "no billing cycle")
    assert names(stage.act("pay_checkout", trial)) == ["subscription.authenticated"]
    assert api.fetch(trial)["charge_at"] == NOW + 14 * DAY
    told += stage.act("begin", trial)
    told += stage.act("end_period", trial)
    assert api.fetch(trial)["status"] == "completed"
    dropped = api.create(later)["id"]
    stage.act("pay_checkout", dropped)
    assert api.pause(dropped, {"pause_at": "now"})["status"] == "cancelled"
    unpaid = api.create({**later, "expire_by": NOW + DAY})["id"]
    assert stage.act("expire", unpaid) is None
    assert api.fetch(unpaid)["status"] == "expired"
    never = api.create(later)["id"]
    assert api.cancel(never)["status"] == "cancelled"
    return told


def money(stage, paid):
    invoices = stage.client.invoice.all({"subscription_id": paid, "count": 2, "skip": 0})
    newest = invoices["items"][0]
    assert invoices["count"] == 2 and newest["status"] == "paid" and newest["amount_paid"] == 399_900, newest
    assert stage.client.invoice.fetch(newest["id"]) == newest
    api = stage.client.payment
    payment = api.fetch(newest["payment_id"])
    assert (payment["status"], payment["captured"], payment["invoice_id"]) == ("captured", True, newest["id"]), payment

    key = {"X-Refund-Idempotency": "sdk-refund-0123456789"}
    refund = api.refund(payment["id"], {"amount": 100_000, "notes": {"why": "a test"}}, headers=dict(key))
    again = api.refund(payment["id"], {"amount": 100_000, "notes": {"why": "a test"}}, headers=dict(key))
    assert again == refund and refund["status"] == "processed", (refund, again)
    other = lambda: api.refund(payment["id"], {"amount": 100_001}, headers=dict(key))
    refused(other, BadRequestError, "same idempotency key")
    short = lambda: api.refund(payment["id"], {}, headers={"X-Refund-Idempotency": "short"})
    refused(short, BadRequestError, "at least 10")
    refused(lambda: api.refund(payment["id"], {"amount": 99}), BadRequestError, "at least 100")
    refused(lambda: api.refund(payment["id"], {"amount": 300_000}), BadRequestError, "greater than")
    assert api.fetch(payment["id"])["refund_status"] == "partial"
    api.refund(payment["id"])
    assert api.fetch(payment["id"])["refund_status"] == "full"
    refused(lambda: api.refund(payment["id"]), BadRequestError, "fully refunded")
    assert api.fetch_multiple_refund(payment["id"], {"count": 10})["count"] == 2

    told = stage.act("dispute_open", invoices["items"][1]["payment_id"])
    dispute = told[0]["payload"]["dispute"]["entity"]["id"]
    assert stage.client.dispute.all({"count": 1, "skip": 0})["items"][0]["id"] == dispute
    told += stage.act("dispute_lost", dispute)
    assert stage.client.dispute.fetch(dispute)["status"] == "lost"
    return told


def links(stage):
    api = stage.client.payment_link
    params = {
        "amount": 12_345, "currency": "INR", "reference_id": "overage-1", "description": "Usage",
        "customer": {"name": "Acme", "email": "a@acme.example"}, "notify": {"sms": False, "email": True},
        "callback_url": "https://app.example.com/paid", "callback_method": "get", "notes": {"customer_id": "acme"},
    }
    link = api.create(params)
    refused(lambda: api.create(params), BadRequestError, "already exists")
    for wrong, words in (
        ({"amount": 99}, "at least 100"),
        ({"reference_id": "x" * 41}, "greater than 40"),
        ({"callback_method": "post"}, "must be get"),
        ({"notify": {"sms": True}}, "contact is required"),
        ({"expire_by": NOW + 60}, "at least 15 minutes"),
    ):
        refused(lambda: api.create({**params, "reference_id": "overage-2", **wrong}), BadRequestError, words)
    assert api.all({"reference_id": "overage-1"}) == {"payment_links": [link]}
    told = stage.act("pay_link", link["id"])
    paid = api.fetch(link["id"])
    assert (paid["status"], paid["amount_paid"]) == ("paid", 12_345), paid
    stage.client.utility.verify_payment_link_signature({
        "payment_link_id": link["id"], "payment_link_reference_id": "overage-1", "payment_link_status": "paid",
        "razorpay_payment_id": paid["payments"][0]["payment_id"],
        "razorpay_signature": stage.ask("link_signature", link["id"]),
    })
    timed = api.create({**params, "reference_id": "overage-2", "expire_by": NOW + DAY})["id"]
    told += stage.act("expire_link", timed)
    assert api.fetch(timed)["status"] == "expired"
    return told


def deliveries(stage, told, secret):
    """What the fake signs the library accepts, and what the library accepts the service accepts."""
    utility = stage.client.utility
    for event in told:
        delivery = stage.ask("sign", event)
        utility.verify_webhook_signature(delivery["body"], delivery["signature"], secret)
        # Nobody asks for orders here, and payment links do not say what they are.
        for name in set(event["contains"]) - {"order"}:
            stage.check_shape({"entity": name, **event["payload"][name]["entity"]})
    body, signature = delivery["body"], delivery["signature"]
    for spoiled in ((body + " ", signature, secret), (body, signature, "other"), (body, signature[:-1] + "x", secret)):
        refused(lambda: utility.verify_webhook_signature(*spoiled), SignatureVerificationError, "Failed")
    for text in (body, json.dumps(json.loads(body), indent=2) + "\n", body.replace("acme", "Zoë ☂")):
        signature = signed(text, secret)
        utility.verify_webhook_signature(text, signature, secret)
        assert stage.ask("verify", text, signature) is True, text
        assert stage.ask("verify", text + "\n", signature) is False
        assert stage.ask("verify", text, signed(text, "other")) is False

    handed = {"razorpay_payment_id": "pay_1", "razorpay_subscription_id": "sub_1"}
    signature = stage.ask("checkout_signature", "pay_1", "sub_1")
    utility.verify_subscription_payment_signature({**handed, "razorpay_signature": signature})
    assert stage.ask("vouches", "pay_1", "sub_1", signature) is True
    assert stage.ask("vouches", "pay_1", "sub_2", signature) is False


def signatures():
    """Signatures that the library finds right, for those who do not have it."""
    utility = razorpay.Client(auth=("rzp_test_golden", "unused")).utility
    vectors = []
    for secret in ("the-golden-secret", "another secret", "ünicode secret"):
        for body in ("{}", '{"entity":"event"}', '{"name":"Zoë ☂"}\n', '{\n  "event": "x"\n}\n', ""):
            vectors.append({"of": "webhook", "secret": secret, "signs": [body], "signature": signed(body, secret)})
            utility.verify_webhook_signature(body, vectors[-1]["signature"], secret)
    for secret in ("the-golden-key-secret", "EnLs21M47BllR3X8PSFtjtbd"):
        for payment, subscription in (("pay_1", "sub_1"), ("pay_IDZNwZZFtnjyym", "sub_ID6MOhgkcoHj9I")):
            signature = signed(f"{payment}|{subscription}", secret)
            vectors.append({"of": "checkout", "secret": secret, "signs": [payment, subscription], "signature": signature})
            utility.verify_subscription_payment_signature({
                "razorpay_payment_id": payment, "razorpay_subscription_id": subscription,
                "razorpay_signature": signature, "secret": secret,
            })
        for parts in (["plink_1", "overage-1", "paid", "pay_1"], ["plink_2", "", "paid", "pay_2"]):
            signature = signed("|".join(parts), secret)
            vectors.append({"of": "link", "secret": secret, "signs": parts, "signature": signature})
            utility.verify_payment_link_signature({
                "payment_link_id": parts[0], "payment_link_reference_id": parts[1], "payment_link_status": parts[2],
                "razorpay_payment_id": parts[3], "razorpay_signature": signature, "secret": secret,
            })
    return "[\n" + ",\n".join(json.dumps(vector, ensure_ascii=False) for vector in vectors) + "\n]\n"


def signed(text, secret):
    """The library only checks signatures."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def names(told):
    return [event["event"] for event in told]


def keep(path, text, write):
    if write:
        path.write_text(text, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != text:
        raise AssertionError(f"{path} is not what the library does now; PLANGATE_SDK_WRITE_GOLDEN=1 writes it anew")


def main(base, key_id, key_secret, webhook_secret, golden, *flags):
    # Whoever waits for an answer that never comes must not wait for ever.
    faulthandler.dump_traceback_later(120, exit=True)
    stage = Stage(base, key_id, key_secret)
    stage.act("set_now", NOW)
    customers(stage)
    trouble(stage)
    paid, told = selling(stage)
    told += lifecycle(stage, paid)
    told += money(stage, paid)
    told += links(stage)
    deliveries(stage, told, webhook_secret)
    if stage.faults:
        raise AssertionError("not as documented:\n" + "\n".join(stage.faults))
    write = "--write-golden" in flags
    keep(Path(golden) / "razorpay_requests.json", stage.recording(paid), write)
    keep(Path(golden) / "razorpay_signatures.json", signatures(), write)


if __name__ == "__main__":
    main(*sys.argv[1:])
