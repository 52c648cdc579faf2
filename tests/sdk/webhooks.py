"""What is told: events, their signatures, and events that have to be asked for."""

import json
import time

import stripe
from stripe import InvalidRequestError

from stage import NOW, refused


def history(stage, told):
    """Everything that was told can be asked for again."""
    api = stage.v1.events
    event = api.retrieve(told[0]["id"])
    assert isinstance(event, stripe.Event) and event.to_dict(for_json=True) == told[0], event
    kinds = ["customer.subscription.created", "invoice.paid"]
    some = list(api.list({"types": kinds, "created": {"gte": NOW}, "limit": 1}).auto_paging_iter())
    assert {one.type for one in some} == set(kinds), some
    ids = [one.id for one in some]
    assert len(ids) == len(set(ids)) and {one["id"] for one in told if one["type"] in kinds} <= set(ids), ids
    newer = api.list({"ending_before": ids[-1], "types": kinds, "limit": 1})
    assert [one.id for one in newer.auto_paging_iter()] == ids[-2::-1]
    assert all(one.type.startswith("charge.") for one in api.list({"type": "charge.*"}).data)
    assert api.list({"delivery_success": True}).is_empty
    assert api.list({"created": {"lt": NOW}}).is_empty
    refused(lambda: api.list({"type": "a.b", "types": ["c.d"]}), InvalidRequestError, status=400, param="types")
    refused(lambda: api.retrieve("evt_none"), InvalidRequestError, status=404, code="resource_missing", param="id")


def thin_events(stage, meter, secret):
    thin = stage.act("meter_error", "usage:acme:3", "meter_event_customer_not_found")
    delivery = stage.ask("sign", thin)
    told = stage.client.parse_event_notification(delivery["body"], delivery["signature"], secret)
    assert type(told) is stripe.events.V1BillingMeterErrorReportTriggeredEventNotification, told
    assert told.fetch_related_object().id == meter == told.related_object.id
    for event in (told.fetch_event(), stage.client.v2.core.events.retrieve(thin["id"])):
        assert type(event) is stripe.events.V1BillingMeterErrorReportTriggeredEvent, event
        (kind,) = event.data.reason.error_types
        assert (kind.code, kind.error_count) == ("meter_event_customer_not_found", 1), event
        assert kind.sample_errors[0].request.identifier == "sdk:usage:acme:3", event
    try:
        stage.client.v2.core.events.retrieve("evt_none")
    except stripe.StripeError as error:
        assert (error.http_status, error.code) == (404, "not_found"), error
    else:
        raise AssertionError("an event that does not exist was found")


def deliveries(stage, told, secret):
    """What the fake signs the library accepts, and what the library signs the service accepts."""
    for event in told:
        delivery = stage.ask("sign", event)
        body, header = delivery["body"], delivery["signature"]
        read = stripe.Webhook.construct_event(body.encode(), header, secret)
        assert read.type == event["type"] and read.data.object.id == event["data"]["object"]["id"], read
        stage.check_shape(json.loads(body))
    for spoiled in ((body + " ", header, secret), (body, header, "whsec_other"), (body, header[:-1] + "x", secret)):
        try:
            stripe.Webhook.construct_event(*spoiled)
        except stripe.SignatureVerificationError:
            continue
        raise AssertionError(f"accepted: {spoiled}")

    sign = stripe.WebhookSignature.generate_signature_header
    now = int(time.time())
    for text in (body, json.dumps(json.loads(body), ensure_ascii=False, indent=2) + "\n", body.replace("acme", "Zoë ☂")):
        assert stage.ask("verify", text, sign(text, secret, now)) == "accepted", text
        assert stage.ask("verify", text + "\n", sign(text, secret, now)) == "no match"
        assert stage.ask("verify", text, sign(text, "whsec_other", now)) == "no match"
        assert stage.ask("verify", text, sign(text, secret, now - 600)) == "outside tolerance"


def signatures():
    """Headers as the library makes them, for those who do not have it."""
    secrets = ("whsec_plangate_golden", "whsec_other_secret", "ünicode secret")
    bodies = ("{}", '{"id":"evt_1","object":"event"}', '{"name":"Zoë ☂"}\n', '{\n  "id": "evt_2"\n}\n', "")
    vectors = [
        {"secret": secret, "timestamp": timestamp, "body": body,
         "header": stripe.WebhookSignature.generate_signature_header(body, secret, timestamp)}
        for secret in secrets for timestamp in (1, 1_767_225_600) for body in bodies
    ]
    return "[\n" + ",\n".join(json.dumps(vector, ensure_ascii=False) for vector in vectors) + "\n]\n"
