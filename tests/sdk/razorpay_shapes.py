"""Whether answers have the fields that Razorpay documents, of the documented types.

The SDK itself takes any JSON: a fake that makes fields up, forgets them or misspells a status would go unnoticed.
"""

_TEXT, _WHOLE, _FLAG, _MAYBE_TEXT, _MAYBE_WHOLE = (str,), (int,), (bool,), (str, None), (int, None)
_NOTES = (dict, list)

_STATUSES = {
    "subscription": "created authenticated active pending halted cancelled completed expired paused",
    "payment": "created authorized captured refunded failed",
    "invoice": "draft issued partially_paid paid cancelled expired deleted",
    "refund": "pending processed failed",
    "dispute": "open under_review lost won closed",
    "payment_link": "created partially_paid expired cancelled paid",
}

_FIELDS = {
    "customer": {
        "name": _MAYBE_TEXT, "email": _MAYBE_TEXT, "contact": _MAYBE_TEXT, "gstin": _MAYBE_TEXT, "notes": _NOTES,
        "created_at": _WHOLE,
    },
    "plan": {"interval": _WHOLE, "period": _TEXT, "item": (dict,), "notes": _NOTES, "created_at": _WHOLE},
    "subscription": {
        "plan_id": _TEXT, "customer_id": _MAYBE_TEXT, "status": _TEXT, "current_start": _MAYBE_WHOLE,
        "current_end": _MAYBE_WHOLE, "ended_at": _MAYBE_WHOLE, "quantity": _WHOLE, "notes": _NOTES,
        "charge_at": _MAYBE_WHOLE, "start_at": _MAYBE_WHOLE, "end_at": _MAYBE_WHOLE, "auth_attempts": _WHOLE,
        "total_count": _WHOLE, "paid_count": _WHOLE, "customer_notify": _FLAG, "created_at": _WHOLE,
        "expire_by": _MAYBE_WHOLE, "short_url": _TEXT, "has_scheduled_changes": _FLAG,
        "change_scheduled_at": _MAYBE_WHOLE, "source": _TEXT, "offer_id": _MAYBE_TEXT, "remaining_count": _WHOLE,
        "payment_method": _MAYBE_TEXT,
    },
    "payment": {
        "amount": _WHOLE, "currency": _TEXT, "status": _TEXT, "order_id": _MAYBE_TEXT, "invoice_id": _MAYBE_TEXT,
        "international": _FLAG, "method": _TEXT, "amount_refunded": _WHOLE, "refund_status": _MAYBE_TEXT,
        "captured": _FLAG, "description": _MAYBE_TEXT, "card_id": _MAYBE_TEXT, "bank": _MAYBE_TEXT,
        "wallet": _MAYBE_TEXT, "vpa": _MAYBE_TEXT, "email": _TEXT, "contact": _TEXT, "customer_id": _MAYBE_TEXT,
        "token_id": _MAYBE_TEXT, "notes": _NOTES, "fee": _MAYBE_WHOLE, "tax": _MAYBE_WHOLE,
        "error_code": _MAYBE_TEXT, "error_description": _MAYBE_TEXT, "error_source": _MAYBE_TEXT,
        "error_step": _MAYBE_TEXT, "error_reason": _MAYBE_TEXT, "acquirer_data": (dict,), "created_at": _WHOLE,
    },
    "invoice": {
        "receipt": _MAYBE_TEXT, "invoice_number": _MAYBE_TEXT, "customer_id": _MAYBE_TEXT,
        "customer_details": (dict,), "order_id": _TEXT, "subscription_id": _MAYBE_TEXT, "line_items": (list,),
        "payment_id": _MAYBE_TEXT, "status": _TEXT, "expire_by": _MAYBE_WHOLE, "issued_at": _MAYBE_WHOLE,
        "paid_at": _MAYBE_WHOLE, "cancelled_at": _MAYBE_WHOLE, "expired_at": _MAYBE_WHOLE,
        "sms_status": _MAYBE_TEXT, "email_status": _MAYBE_TEXT, "date": _WHOLE, "terms": _MAYBE_TEXT,
        "partial_payment": _FLAG, "gross_amount": _WHOLE, "tax_amount": _WHOLE, "amount": _WHOLE,
        "amount_paid": _WHOLE, "amount_due": _WHOLE, "currency": _TEXT, "description": _MAYBE_TEXT, "notes": _NOTES,
        "comment": _MAYBE_TEXT, "short_url": _TEXT, "view_less": _FLAG, "billing_start": _MAYBE_WHOLE,
        "billing_end": _MAYBE_WHOLE, "type": _MAYBE_TEXT, "group_taxes_discounts": _FLAG, "created_at": _WHOLE,
    },
    "refund": {
        "amount": _WHOLE, "currency": _TEXT, "payment_id": _TEXT, "notes": _NOTES, "receipt": _MAYBE_TEXT,
        "acquirer_data": (dict,), "created_at": _WHOLE, "batch_id": _MAYBE_TEXT, "status": _TEXT,
        "speed_processed": _TEXT, "speed_requested": _TEXT,
    },
    "dispute": {
        "payment_id": _TEXT, "amount": _WHOLE, "currency": _TEXT, "amount_deducted": _WHOLE,
        "gateway_dispute_id": _MAYBE_TEXT, "reason_code": _TEXT, "reason_description": _MAYBE_TEXT,
        "respond_by": _WHOLE, "status": _TEXT, "phase": _TEXT, "comments": _MAYBE_TEXT, "created_at": _WHOLE,
    },
    "payment_link": {
        "accept_partial": _FLAG, "amount": _WHOLE, "amount_paid": _WHOLE, "callback_method": _TEXT,
        "callback_url": _TEXT, "cancelled_at": _WHOLE, "created_at": _WHOLE, "currency": _TEXT,
        "customer": (dict, list), "description": _TEXT, "expire_by": _WHOLE, "expired_at": _WHOLE,
        "first_min_partial_amount": _WHOLE, "notes": (*_NOTES, None), "notify": (dict,), "payments": (list, None),
        "reference_id": _TEXT, "reminder_enable": _FLAG, "reminders": (list, dict), "short_url": _TEXT,
        "status": _TEXT, "updated_at": _WHOLE, "upi_link": _FLAG, "user_id": _TEXT, "whatsapp_link": _FLAG,
    },
}

# Of a payment link that was paid.
_LATER = {"order_id": _TEXT}
_PREFIXES = {
    "customer": "cust", "plan": "plan", "subscription": "sub", "payment": "pay", "invoice": "inv", "refund": "rfnd",
    "dispute": "disp",
}


def faults(answer):
    """Every place in an answer that is not as documented, as text."""
    if "payment_links" in answer:
        return [fault for link in answer["payment_links"] for fault in _of_entity("payment_link", link)]
    if answer.get("entity") == "collection":
        wrong = [] if answer["count"] == len(answer["items"]) else ["collection.count is wrong"]
        return wrong + [fault for item in answer["items"] for fault in faults(item)]
    # Payment links do not say what they are.
    return _of_entity(answer.get("entity", "payment_link"), answer)


def _of_entity(kind, entity):
    documented = _FIELDS.get(kind)
    if documented is None:
        return [f"nobody knows a {kind}"]
    prefix = _PREFIXES.get(kind, "plink")
    found = [] if entity["id"].startswith(f"{prefix}_") else [f"{kind}.id is {entity['id']}"]
    for name, types in documented.items():
        if name not in entity:
            found.append(f"{kind}.{name} is missing")
        elif not _fits(entity[name], types):
            found.append(f"{kind}.{name} is {entity[name]!r}")
    found += [f"{kind}.{name} is not known" for name in entity.keys() - documented.keys() - _LATER.keys() - {"id", "entity"}]
    if kind in _STATUSES and entity.get("status") not in _STATUSES[kind].split():
        found.append(f"{kind}.status is {entity.get('status')!r}")
    return found


def _fits(value, types):
    # True is an int to Python.
    return type(value) in types or (value is None and None in types)
