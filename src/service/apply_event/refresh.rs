//! One subscription is fetched and written down as the provider has it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::meaning::{Owner, keep_intention, owner, plan_of, planned, report};
use super::second_subscriptions::{self, Written};
use super::successors::{OwnSession, look_at_the_replaced, was_lowered};
use super::{NotApplied, settle};
use crate::domain::payment::EndingReason;
use crate::domain::plans::Plans;
use crate::domain::policy::OnDuplicate;
use crate::domain::provider_event::{
    PaymentMade, ProviderName, ProviderStatus, ProviderSubscription,
};
use crate::domain::subscription::{PlanRef, Report, Subscription, SubscriptionStatus};
use crate::meter::Rules;
use crate::service::context::{Context, Storefront};
use crate::service::subscriptions::{Occasion, apply_report, first_seen};
use crate::store::checkout_sessions::{self, Ending};
use crate::store::clock::deciding_time;
use crate::store::inbox::{self, Claim, Status};
use crate::store::pool::{self, StoreError};
use crate::store::subscriptions::{self, Cause, Lease};
use crate::store::{charges, customers, intended_ends, provider_customers, subscription_endings};

/// A checkout that ran through.
pub(super) struct Purchase {
    /// The provider's id of the session.
    pub(super) session_id: String,
    /// Whom the session names; where it began with a payment link, that is the visitor's word.
    pub(super) customer_id: Option<String>,
}

/// What a subscription is fetched for.
pub(super) struct Errand {
    asked_by: AskedBy,
    purchase: Option<Purchase>,
    payment: Option<PaymentMade>,
}

/// Who wants to know.
enum AskedBy {
    /// An event, to be settled with it.
    Event(Claim),
    /// Somebody who changes it and waits for the answer.
    Request,
    /// Somebody who ended it at once.
    End,
    /// Nobody: we look on our own account.
    Nobody,
}

/// What was fetched that is not stored.
pub(super) struct Fetched {
    /// A change of plan waits for its payment.
    pub(super) change_unpaid: bool,
}

impl Errand {
    /// An event asks for it.
    pub(super) const fn event(claim: Claim, purchase: Option<Purchase>) -> Self {
        Self {
            asked_by: AskedBy::Event(claim),
            purchase,
            payment: None,
        }
    }

    /// Somebody who changes it asks for it.
    pub(super) const fn request() -> Self {
        Self {
            asked_by: AskedBy::Request,
            purchase: None,
            payment: None,
        }
    }

    /// Somebody asks for it who ended it at once: nothing that is paid outlasts that.
    pub(super) const fn end() -> Self {
        Self {
            asked_by: AskedBy::End,
            purchase: None,
            payment: None,
        }
    }

    /// Nobody asks for it.
    pub(super) const fn unasked() -> Self {
        Self {
            asked_by: AskedBy::Nobody,
            purchase: None,
            payment: None,
        }
    }

    /// A checkout sold it.
    pub(super) fn bought(self, purchase: Purchase) -> Self {
        Self {
            purchase: Some(purchase),
            ..self
        }
    }

    /// The event tells of a payment, too.
    pub(super) fn paid(self, payment: PaymentMade) -> Self {
        Self {
            payment: Some(payment),
            ..self
        }
    }

    fn cause(&self) -> Cause<'_> {
        match &self.asked_by {
            AskedBy::Event(claim) => Cause::Webhook(&claim.event_id),
            AskedBy::Request | AskedBy::End => Cause::Request,
            AskedBy::Nobody => Cause::Job,
        }
    }
}

/// Makes the stored subscription what the provider says it is.
pub(super) async fn refresh(
    context: &Context,
    storefront: &Storefront,
    id: &str,
    errand: Errand,
) -> Result<Fetched, NotApplied> {
    let provider = storefront.provider.name();
    let (lease, looked_at) = take_lease(context, provider, id).await?;
    let fetched = storefront.provider.fetch_subscription(id).await?;
    let status = match &fetched.status {
        ProviderStatus::Known(status) => *status,
        ProviderStatus::Unknown(word) => {
            return Err(NotApplied::Unclear(format!(
                "the provider reports the unknown status \"{word}\""
            )));
        }
    };
    look_at_the_replaced(context, storefront, &fetched, status).await?;
    let newly_bound = lease.customer.is_none();
    let shown = Fetched {
        change_unpaid: fetched.change_unpaid,
    };
    let seen = Seen {
        provider,
        shows_intentions: storefront.provider.capabilities().shows_intentions,
        on_duplicate: context.billing_policy.on_duplicate,
        lease,
        looked_at,
        fetched,
        status,
        errand,
    };
    let meter = context.meter.clone();
    let must_end = pool::run(&context.pool, move |conn| {
        let mut whose = None;
        let written = conn.transaction(|conn| seen.write(conn, meter.rules(), &mut whose));
        // Even after an error: the answer to the commit may have been lost.
        if let Some(customer) = whose {
            meter.forget(&customer);
        }
        written
    })
    .await?;
    if must_end {
        context.bells.endings.notify_one();
    }
    if newly_bound {
        wake_the_waiting(context, storefront, id).await;
    }
    Ok(shown)
}

/// What was fetched under a lease, to be written down.
struct Seen {
    provider: ProviderName,
    shows_intentions: bool,
    on_duplicate: OnDuplicate,
    lease: Lease,
    looked_at: DateTime<Utc>,
    fetched: ProviderSubscription,
    status: SubscriptionStatus,
    errand: Errand,
}

impl Seen {
    /// Writes it down with everything that follows, in the caller's transaction. Returns whether a subscription is to be ended; `whose` is
    /// told as soon as that is known.
    fn write(
        &self,
        conn: &mut PgConnection,
        rules: &Rules,
        whose: &mut Option<String>,
    ) -> Result<bool, NotApplied> {
        let (provider, fetched, errand) = (self.provider, &self.fetched, &self.errand);
        if !subscriptions::holds(conn, provider, &fetched.id, self.lease.fence)? {
            return Err(NotApplied::Overtaken);
        }
        let purchase = errand.purchase.as_ref();
        let owner = owner(conn, provider, &self.lease, fetched, purchase)?;
        let customer = owner.customer.as_str();
        *whose = Some(customer.to_owned());
        let now = deciding_time(conn, rules.clock.as_ref())?;
        let row = customers::lock_or_create(conn, customer, now)?;
        let now = deciding_time(conn, rules.clock.as_ref())?;
        let plans = rules.book.refresh(conn)?;
        let stored = subscriptions::of_customer(conn, customer)?
            .into_iter()
            .find(|s| s.provider == provider && s.provider_subscription_id == fetched.id);
        let session = OwnSession::find(conn, provider, customer, fetched, self.status)?;
        let about = About {
            customer,
            stored: stored.as_ref(),
            session: session.as_ref(),
        };
        let report = self.report(conn, &plans, about, now)?;
        let base = stored.clone().unwrap_or_else(|| {
            let started_at = fetched.started_at.unwrap_or(now);
            first_seen(provider, &fetched.id, &report, started_at)
        });
        let occasion = Occasion {
            fence: self.lease.fence,
            cause: errand.cause(),
            now,
        };
        let remembered = row.anchoring();
        let after = apply_report(conn, &plans, customer, remembered, &base, report, occasion)?;
        let written = Written {
            customer,
            before: stored.as_ref(),
            after: &after,
        };
        let mut must_end = false;
        if let Some(session) = &session {
            session.end_checkout(conn, now)?;
            // Before others are looked for: what is replaced is none too many.
            must_end |= session.follow(conn, &plans, written, occasion)?;
        }
        must_end |= second_subscriptions::look_for(conn, self.on_duplicate, &plans, written, now)?;
        bind(conn, provider, fetched, &owner, purchase, now)?;
        if let Some(payment) = &errand.payment {
            charges::note(conn, customer, provider, &fetched.id, payment, now)?;
        }
        if let AskedBy::Event(claim) = &errand.asked_by {
            settle(conn, claim, Status::Processed, now)?;
        }
        inbox::answer(conn, provider, &fetched.id, self.looked_at, now)?;
        Ok(must_end)
    }

    /// What was fetched, with what is known here alone.
    fn report(
        &self,
        conn: &mut PgConnection,
        plans: &Plans,
        about: About<'_>,
        now: DateTime<Utc>,
    ) -> Result<Report, NotApplied> {
        let (provider, fetched) = (self.provider, &self.fetched);
        let About {
            customer,
            stored,
            session,
        } = about;
        let status = session.map_or(self.status, OwnSession::status);
        let plan = match plan_of(conn, provider, plans, fetched, stored) {
            Err(NotApplied::Unclear(reason)) => priceless(status, stored, reason)?,
            plan => plan?,
        };
        let planned = planned(conn, provider, plans, fetched, &plan)?;
        let mut report = report(fetched, status, plan, stored, now);
        report.planned = planned;
        if !self.shows_intentions {
            let told = intended_ends::told(conn, provider, &fetched.id)?;
            if keep_intention(&mut report, stored, told.sent_at.is_some(), now) {
                tracing::error!(
                    %provider,
                    subscription = fetched.id,
                    "a subscription was renewed that was to end: it ends with the new period, and an operator must look at what was paid"
                );
            }
        }
        let brought_about = noted_end(conn, customer, stored, now)?;
        if matches!(self.errand.asked_by, AskedBy::End) || brought_about.is_some() {
            report.paid_until = None;
        }
        report.end_with_grace = !status.is_terminal()
            || match (brought_about, stored) {
                (None, _) => true,
                (Some(EndingReason::Replaced), Some(stored)) => {
                    was_lowered(conn, plans, customer, stored, now)?
                }
                (Some(_), _) => false,
            };
        if let Some(session) = session {
            session.amend(&mut report);
        }
        Ok(report)
    }
}

/// What is known here of a subscription that was fetched.
#[derive(Clone, Copy)]
struct About<'a> {
    customer: &'a str,
    stored: Option<&'a Subscription>,
    session: Option<&'a OwnSession>,
}

/// Takes the lease; tells when, too.
async fn take_lease(
    context: &Context,
    provider: ProviderName,
    id: &str,
) -> Result<(Lease, DateTime<Utc>), StoreError> {
    let (id, clock) = (id.to_owned(), Arc::clone(context.clock()));
    pool::run(&context.pool, move |conn| {
        let lease = subscriptions::lease(conn, provider, &id)?;
        Ok((lease, deciding_time(conn, clock.as_ref())?))
    })
    .await
}

/// The plan where the price is of none that is known: what gives no access needs no price, it must end whatever it was changed to.
fn priceless(
    status: SubscriptionStatus,
    stored: Option<&Subscription>,
    reason: String,
) -> Result<PlanRef, NotApplied> {
    match stored {
        Some(stored) if !gives_access(status) => Ok(stored.plan.clone()),
        _ => Err(NotApplied::Unclear(reason)),
    }
}

/// Whether a plan can be in force under that status.
const fn gives_access(status: SubscriptionStatus) -> bool {
    use SubscriptionStatus as S;
    matches!(status, S::Trialing | S::Active | S::PastDue)
}

/// Why we ourselves bring the subscription's end about, where we do.
fn noted_end(
    conn: &mut PgConnection,
    customer: &str,
    stored: Option<&Subscription>,
    now: DateTime<Utc>,
) -> QueryResult<Option<EndingReason>> {
    let Some(stored) = stored else {
        return Ok(None);
    };
    let noted = subscription_endings::of_customer(conn, customer, now)?;
    let this = noted
        .into_iter()
        .find(|noted| noted.subscription_id == stored.id);
    Ok(this.map(|noted| noted.reason))
}

/// Remembers whose the subscription is, and that the checkout which sold it is over.
fn bind(
    conn: &mut PgConnection,
    provider: ProviderName,
    fetched: &ProviderSubscription,
    owner: &Owner,
    purchase: Option<&Purchase>,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let customer = owner.customer.as_str();
    let payer = fetched.provider_customer_id.as_deref();
    subscriptions::bind(conn, provider, &fetched.id, customer, payer)?;
    // Only what lives proves that its payer still exists.
    let lives = matches!(&fetched.status, ProviderStatus::Known(status) if !status.is_terminal());
    if let Some(name) = &fetched.provider_customer_id
        && owner.vouched
        && lives
    {
        provider_customers::bind(conn, customer, provider, name, now)?;
    }
    if let Some(purchase) = purchase
        && let Some((customer, attempt)) =
            checkout_sessions::of_session(conn, provider, &purchase.session_id)?
    {
        checkout_sessions::end(conn, &customer, attempt, Ending::Complete, now)?;
    }
    Ok(())
}

/// What waited for the binding can go on. Where this fails, they come up at their own times.
async fn wake_the_waiting(context: &Context, storefront: &Storefront, id: &str) {
    let provider = storefront.provider.name();
    let clock = Arc::clone(context.clock());
    let subject = id.to_owned();
    let woken: Result<usize, StoreError> = pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        Ok(inbox::wake(conn, provider, &subject, now)?)
    })
    .await;
    if let Err(error) = woken {
        tracing::warn!(%provider, subscription = id, %error, "the events that waited were not woken");
    }
}
