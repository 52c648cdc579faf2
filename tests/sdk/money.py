"""What is billed: usage, payments, refunds and disputes."""

import stripe
from stripe import InvalidRequestError

from stage import DAY, HOUR, NOW, refused

METER_EVENT = "attribution_runs"


def meters(stage, customer):
    api = stage.v1.billing
    # Of hours that the fake's clock has left behind, so that they are summed up.
    at = NOW - 2 * HOUR

    def told(**change):
        params = {
            "event_name": METER_EVENT, "identifier": "usage:acme:1", "timestamp": at,
            "payload": {"stripe_customer_id": customer, "value": "25"}, **change,
        }
        return api.meter_events.create(params, {"idempotency_key": f"sdk:{params['identifier']}"})

    event = told()
    assert isinstance(event, stripe.billing.MeterEvent) and event.payload["value"] == "25", event
    told(identifier="usage:acme:2", payload={"stripe_customer_id": customer, "value": "17"})
    told(identifier="usage:acme:3", timestamp=at + HOUR)
    doubled = {
        "event_name": METER_EVENT, "identifier": "usage:acme:1",
        "payload": {"stripe_customer_id": customer, "value": "1"},
    }
    assert refused_as(lambda: api.meter_events.create(doubled)).param == "identifier"
    assert refused_as(lambda: told(identifier="old", timestamp=NOW - 36 * DAY)).param == "timestamp"
    assert refused_as(lambda: told(identifier="new", timestamp=NOW + HOUR)).param == "timestamp"
    assert refused_as(lambda: told(identifier="name", event_name="walks")).param == "event_name"
    half = {"stripe_customer_id": customer}
    assert refused_as(lambda: told(identifier="half", payload=half)).param == "payload[value]"
    assert refused_as(lambda: told(identifier="x" * 101)).param == "identifier"

    taken_back = {"event_name": METER_EVENT, "type": "cancel", "cancel": {"identifier": "usage:acme:2"}}
    adjustment = api.meter_event_adjustments.create(taken_back)
    assert isinstance(adjustment, stripe.billing.MeterEventAdjustment) and adjustment.status == "pending", adjustment
    unknown = {**taken_back, "cancel": {"identifier": "usage:acme:none"}}
    assert refused_as(lambda: api.meter_event_adjustments.create(unknown)).param == "cancel[identifier]"
    refused(
        lambda: api.meter_event_adjustments.create({key: taken_back[key] for key in taken_back if key != "type"}),
        InvalidRequestError, status=400, code="parameter_missing", param="type",
    )

    (meter,) = api.meters.list({"status": "active"}).auto_paging_iter()
    assert meter.event_name == METER_EVENT and api.meters.retrieve(meter.id).default_aggregation.formula == "sum"
    span = {"customer": customer, "start_time": NOW - 3 * HOUR, "end_time": NOW}
    (total,) = api.meters.event_summaries.list(meter.id, span).data
    assert total.aggregated_value == 50, total
    by_hour = api.meters.event_summaries.list(meter.id, {**span, "value_grouping_window": "hour", "limit": 1})
    sums = [(one.start_time, one.aggregated_value) for one in by_hour.auto_paging_iter()]
    assert sorted(sums) == [(at, 25), (at + HOUR, 25)], sums
    odd = {**span, "start_time": NOW - 59}
    assert refused_as(lambda: api.meters.event_summaries.list(meter.id, odd)).param == "start_time"
    return meter.id


def refused_as(call):
    """The refusal of something that only its parameter is sure about."""
    try:
        answer = call()
    except InvalidRequestError as error:
        assert error.http_status == 400, error
        return error
    raise AssertionError(f"not refused: {answer}")


def payments(stage, customer, subscription):
    api = stage.v1
    invoices = api.invoices.list({"customer": customer, "subscription": subscription, "status": "paid", "limit": 2})
    invoices = list(invoices.auto_paging_iter())
    first = api.invoices.retrieve(invoices[-1].id, {"expand": ["payments.data.payment.payment_intent"]})
    assert first.billing_reason == "subscription_create" and first.amount_paid == 4900, first
    assert first.parent.subscription_details.subscription == subscription, first
    intent = first.payments.data[0].payment.payment_intent
    assert isinstance(intent, stripe.PaymentIntent), first
    (payment,) = api.invoice_payments.list({"invoice": first.id, "status": "paid"}).data
    assert payment.payment.payment_intent == intent.id, payment
    by_intent = {"payment": {"type": "payment_intent", "payment_intent": intent.id}}
    assert api.invoice_payments.list({**by_intent, "expand": ["data.invoice"]}).data[0].invoice.id == first.id
    refused(
        lambda: api.invoice_payments.list({"payment": {"payment_intent": intent.id}}),
        InvalidRequestError, status=400, code="parameter_missing", param="payment[type]",
    )
    charge = api.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]}).latest_charge
    assert isinstance(charge, stripe.Charge) and charge.amount == 4900, charge
    assert [one.id for one in api.charges.list({"payment_intent": intent.id}).data] == [charge.id]
    assert charge.id in [one.id for one in api.charges.list({"customer": customer, "limit": 2}).auto_paging_iter()]

    part = {"charge": charge.id, "amount": 900, "reason": "requested_by_customer", "metadata": {"ticket": "7"}}
    refund = api.refunds.create(part, {"idempotency_key": "sdk:refund"})
    assert isinstance(refund, stripe.Refund) and (refund.amount, refund.status) == (900, "succeeded"), refund
    assert api.refunds.create(part, {"idempotency_key": "sdk:refund"}).id == refund.id
    assert (api.charges.retrieve(charge.id).amount_refunded, api.charges.retrieve(charge.id).refunded) == (900, False)
    too_much = {"charge": charge.id, "amount": 4001}
    refused(lambda: api.refunds.create(too_much), InvalidRequestError, status=400, param="amount")
    rest = api.refunds.create({"payment_intent": intent.id})
    assert rest.amount == 4000 and api.charges.retrieve(charge.id).refunded
    refused(
        lambda: api.refunds.create({"charge": charge.id}),
        InvalidRequestError, status=400, code="charge_already_refunded",
    )
    refused(
        lambda: api.refunds.create({"charge": "ch_none"}),
        InvalidRequestError, status=400, code="resource_missing", param="charge",
    )
    refused(lambda: api.refunds.create({}), InvalidRequestError, status=400, code="parameter_missing", param="charge")
    listed = api.refunds.list({"charge": charge.id, "limit": 1})
    assert [one.id for one in listed.auto_paging_iter()] == [rest.id, refund.id]
    assert len(api.refunds.list({"payment_intent": intent.id, "created": {"gte": NOW, "lte": NOW}}).data) == 2
    stage.act("fail_refund", rest.id)
    assert api.refunds.retrieve(rest.id).status == "failed"

    disputed = stage.ask("charge_of", subscription)
    events = stage.act("open_dispute", disputed)
    (dispute,) = api.disputes.list({"charge": disputed}).data
    assert len(api.disputes.list({"payment_intent": dispute.payment_intent}).data) == 1
    assert isinstance(dispute, stripe.Dispute) and dispute.status == "needs_response", dispute
    refused(
        lambda: api.refunds.create({"charge": disputed}), InvalidRequestError, status=400, code="charge_disputed",
    )
    events += stage.act("close_dispute", dispute.id, "won")
    assert api.disputes.retrieve(dispute.id).status == "won"
    return events
