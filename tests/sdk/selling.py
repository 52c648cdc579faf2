"""What is sold: checkouts, and the life of the subscriptions that come of them."""

import stripe
from stripe import InvalidRequestError

from stage import DAY, NOW, refused


def checkout_params(customer, *prices, **more):
    lines = [{"price": price, "quantity": 1} for price in prices] + [{"price": "price_overage"}]
    return {
        "mode": "subscription", "customer": customer, "line_items": lines, "client_reference_id": "acme",
        "success_url": "https://app.example/ok?s={CHECKOUT_SESSION_ID}", "cancel_url": "https://app.example/no",
        "metadata": {"customer_id": "acme"}, "subscription_data": {"metadata": {"customer_id": "acme"}}, **more,
    }


def checkouts(stage, customer):
    api = stage.v1.checkout.sessions
    params = checkout_params(customer, "price_pro")
    session = api.create(params)
    assert isinstance(session, stripe.checkout.Session) and session.status == "open" and session.url, session
    assert api.retrieve(session.id).client_reference_id == "acme"
    assert api.expire(session.id).status == "expired"
    refused(lambda: api.expire(session.id), InvalidRequestError, status=400)
    refused(lambda: api.retrieve("cs_none"), InvalidRequestError, status=404, code="resource_missing", param="id")

    def bad(params, code, param):
        refused(lambda: api.create(params), InvalidRequestError, status=400, code=code, param=param)

    for name in ("mode", "customer", "success_url", "line_items"):
        bad({key: params[key] for key in params if key != name}, "parameter_missing", name)
    bad({**params, "colour": "red"}, "parameter_unknown", "colour")
    no_quantity = [{"price": "price_pro"}]
    bad({**params, "line_items": no_quantity}, "parameter_missing", "line_items[0][quantity]")
    misspelt = [{"price": "price_pro", "quantity": 1, "qty": 2}]
    bad({**params, "line_items": misspelt}, "parameter_unknown", "line_items[0][qty]")
    bad({**params, "line_items": [{"price": "price_none", "quantity": 1}]}, "resource_missing", "line_items[0][price]")
    bad({**params, "line_items": [{"price": "price_former", "quantity": 1}]}, None, "line_items[0][price]")
    bad({**params, "customer": "cus_none"}, "resource_missing", "customer")
    bad({**params, "success_url": "nowhere"}, "url_invalid", "success_url")


def buy(stage, customer, *prices, **more):
    """Goes through a checkout and pays. Returns the subscription's id and the events."""
    sessions = stage.v1.checkout.sessions
    session = sessions.create(checkout_params(customer, *prices, **more))
    events = stage.act("complete_checkout", session.id)
    done = sessions.retrieve(session.id, {"expand": ["subscription", "customer"]})
    assert done.status == "complete" and done.url is None, done
    assert isinstance(done.subscription, stripe.Subscription) and isinstance(done.customer, stripe.Customer), done
    return done.subscription.id, events


def changes(stage, subscription):
    api = stage.v1.subscriptions
    now = api.retrieve(subscription, {"expand": ["latest_invoice.payments"]})
    assert now.status == "active" and now.latest_invoice.payments.data[0].status == "paid", now
    # `items` is the name of a method, too.
    base, overage = now["items"].data
    assert base.price.id == "price_pro" and overage.price.id == "price_overage", now
    assert base.current_period_end > base.current_period_start == NOW

    to_scale = {"items": [{"id": base.id, "price": "price_scale"}], "proration_behavior": "always_invoice"}
    stage.act("decline_payments", True)
    strict = {**to_scale, "payment_behavior": "error_if_incomplete"}
    refused(lambda: api.update(subscription, strict), stripe.CardError, status=402, code="card_declined")
    waiting = api.update(subscription, {**to_scale, "payment_behavior": "pending_if_incomplete"})
    assert waiting.pending_update and waiting["items"].data[0].price.id == "price_pro", waiting
    stage.act("decline_payments", False)
    stage.act("expire_pending_update", subscription)
    changed = api.update(subscription, {**to_scale, "metadata": {"plan": "scale"}})
    assert changed["items"].data[0].price.id == "price_scale" and changed.metadata["plan"] == "scale", changed
    marked = {"items": [{"id": base.id, "metadata": {"seat": "1"}}, {"id": overage.id, "metadata": {"seat": ""}}]}
    assert api.update(subscription, marked)["items"].data[0].metadata["seat"] == "1"
    swapped = {"items": [{"id": overage.id, "deleted": True}]}
    assert len(api.update(subscription, swapped)["items"].data) == 1
    assert len(api.update(subscription, {"items": [{"price": "price_overage"}]})["items"].data) == 2

    pause = {"pause_collection": {"behavior": "void", "resumes_at": NOW + 30 * DAY}}
    assert api.update(subscription, pause).pause_collection.behavior == "void"
    assert api.update(subscription, {"pause_collection": ""}).pause_collection is None
    ending = api.update(subscription, {"cancel_at_period_end": True})
    assert ending.cancel_at_period_end and ending.cancel_at == ending["items"].data[0].current_period_end, ending
    going_on = api.update(subscription, {"cancel_at_period_end": False})
    assert not going_on.cancel_at_period_end and going_on.cancel_at is None, going_on
    assert api.update(subscription, {"cancel_at": NOW + 10 * DAY}).cancel_at == NOW + 10 * DAY
    assert api.update(subscription, {"cancel_at": ""}).cancel_at is None

    def bad(params, code, param):
        refused(lambda: api.update(subscription, params), InvalidRequestError, status=400, code=code, param=param)

    bad({"plan": "price_pro"}, "parameter_unknown", "plan")
    bad({"pause_collection": {"resumes_at": NOW}}, "parameter_missing", "pause_collection[behavior]")
    bad({"items": [{"id": "si_none", "price": "price_pro"}]}, "resource_missing", "items[0][id]")
    bad({"items": [{"price": "price_none"}]}, "resource_missing", "items[0][price]")
    bad({"proration_behavior": "perhaps"}, None, "proration_behavior")
    refused(
        lambda: api.update("sub_none", {"cancel_at_period_end": True}),
        InvalidRequestError, status=404, code="resource_missing", param="id",
    )


def schedules(stage, subscription):
    api = stage.v1.subscription_schedules
    schedule = api.create({"from_subscription": subscription})
    assert isinstance(schedule, stripe.SubscriptionSchedule) and schedule.status == "active", schedule
    held = stage.v1.subscriptions.retrieve(subscription, {"expand": ["schedule"]})
    assert held.schedule.id == schedule.id and held.schedule.phases[0].items[0].price == "price_scale", held
    running = schedule.phases[0]
    phases = [
        {
            "items": [{"price": "price_scale", "quantity": 1}, {"price": "price_overage"}],
            "start_date": running.start_date, "end_date": running.end_date,
        },
        {
            "items": [{"price": "price_pro", "quantity": 1, "metadata": {"seat": "1"}}, {"price": "price_overage"}],
            "duration": {"interval": "month", "interval_count": 1}, "proration_behavior": "none",
            "metadata": {"plan": "pro"}, "currency": "usd", "billing_cycle_anchor": "automatic",
            "collection_method": "charge_automatically",
        },
    ]
    planned = api.update(schedule.id, {"end_behavior": "release", "proration_behavior": "none", "phases": phases})
    assert [phase.items[0].price for phase in planned.phases] == ["price_scale", "price_pro"], planned
    assert api.retrieve(schedule.id).phases[1].start_date == running.end_date
    assert api.release(schedule.id).released_subscription == subscription
    assert stage.v1.subscriptions.retrieve(subscription).schedule is None

    refused(
        lambda: api.create({"from_subscription": "sub_none"}),
        InvalidRequestError, status=400, code="resource_missing", param="from_subscription",
    )
    refused(
        lambda: api.create({"from_subscription": subscription, "phases": phases}),
        InvalidRequestError, status=400, param="phases",
    )
    refused(lambda: api.release(schedule.id), InvalidRequestError, status=400, param="schedule")
    second = api.create({"from_subscription": subscription})
    refused(
        lambda: api.update(second.id, {"phases": [{"start_date": running.start_date}]}),
        InvalidRequestError, status=400, code="parameter_missing", param="phases[0][items]",
    )
    api.release(second.id, {"preserve_cancel_date": True})


def endings(stage, customer):
    api = stage.v1.subscriptions
    trial, _ = buy(
        stage, customer, "price_pro", allow_promotion_codes=True,
        subscription_data={"trial_period_days": 14, "metadata": {"customer_id": "acme"}},
    )
    assert api.retrieve(trial).trial_end == NOW + 14 * DAY
    stage.act("pause", trial)
    assert api.retrieve(trial).status == "paused"
    assert api.resume(trial, {"billing_cycle_anchor": {"type": "now"}, "proration_behavior": "none"}).status == "active"
    refused(lambda: api.resume(trial), InvalidRequestError, status=400, param="subscription")
    details = {"comment": "was too dear", "feedback": "too_expensive"}
    ended = api.cancel(trial, {"invoice_now": True, "prorate": False, "cancellation_details": details})
    assert ended.status == "canceled" and ended.ended_at == NOW, ended
    refused(lambda: api.cancel(trial), InvalidRequestError, status=404, code="resource_missing", param="id")

    late, _ = buy(stage, customer, "price_scale")
    stage.act("fail_renewal", late)
    assert api.retrieve(late).status == "past_due"
    stage.act("pay_overdue", late)
    stage.act("renew", late)
    assert api.retrieve(late).status == "active"
    return trial, late


def subscription_lists(stage, customer, all_ids):
    api = stage.v1.subscriptions
    every = api.list({"customer": customer, "status": "all", "limit": 1})
    assert every.has_more and [one.id for one in every.auto_paging_iter()] == list(reversed(all_ids))
    # Backwards, as the library turns round with `ending_before`.
    oldest = api.list({"status": "all", "ending_before": all_ids[0], "limit": 1})
    assert [one.id for one in oldest.auto_paging_iter()] == all_ids[1:]
    on_scale = api.list({"price": "price_scale", "created": {"gte": NOW - DAY, "lt": NOW + DAY}})
    assert {one.id for one in on_scale.data} == {all_ids[0], all_ids[2]}, on_scale
    assert [one.id for one in api.list({"status": "canceled"}).data] == [all_ids[1]]
    assert api.list({"created": {"gt": NOW + DAY}}).is_empty
    refused(
        lambda: api.list({"customer": "cus_none"}),
        InvalidRequestError, status=400, code="resource_missing", param="customer",
    )
    refused(lambda: api.list({"status": "happy"}), InvalidRequestError, status=400, param="status")
    refused(
        lambda: api.list({"limit": 101}),
        InvalidRequestError, status=400, code="parameter_invalid_integer", param="limit",
    )
