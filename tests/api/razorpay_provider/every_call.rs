//! Whatever fault meets any request of any call: repeated under the same key, the call succeeds and has its effect once.

use plangate::providers::razorpay::Razorpay;
use plangate::providers::{FinalInvoice, Provider, ProviderError, RefundShare};
use serde_json::Value;

use super::{acme, pro, start, subscribed, usage};
use crate::fake_razorpay::{Endpoint, FakeRazorpay, Fault};

/// Every call that changes something, and those that read in several steps.
#[derive(Debug, Clone, Copy)]
enum Act {
    MakeCustomer,
    OpenCheckout,
    CloseCheckout,
    EndWithPeriod,
    EndNow,
    Unpause,
    RefundPart,
    RefundRest,
    MakeLink,
    ReadCharge,
    ReadHistory,
}

const ACTS: [Act; 11] = [
    Act::MakeCustomer,
    Act::OpenCheckout,
    Act::CloseCheckout,
    Act::EndWithPeriod,
    Act::EndNow,
    Act::Unpause,
    Act::RefundPart,
    Act::RefundRest,
    Act::MakeLink,
    Act::ReadCharge,
    Act::ReadHistory,
];

impl Act {
    /// What the call finds, and the subscription that it is about.
    async fn prepared(self) -> (FakeRazorpay, Razorpay, String) {
        match self {
            Self::MakeCustomer | Self::OpenCheckout | Self::MakeLink => {
                let (fake, razorpay) = start();
                (fake, razorpay, String::new())
            }
            Self::CloseCheckout => {
                let (fake, razorpay) = start();
                let id = razorpay.create_checkout(&pro()).await.unwrap().id;
                (fake, razorpay, id)
            }
            _ => {
                let (fake, razorpay, id) = subscribed().await;
                match self {
                    Self::Unpause => drop(fake.pause(&id)),
                    Self::RefundRest => {
                        drop(fake.refund_payment(&fake.payment_of(&id), Some(500)));
                    }
                    Self::ReadCharge => drop(fake.dispute_open(&fake.payment_of(&id))),
                    _ => {}
                }
                (fake, razorpay, id)
            }
        }
    }

    /// The call; what it answered, in words.
    async fn run(
        self,
        fake: &FakeRazorpay,
        razorpay: &Razorpay,
        id: &str,
    ) -> Result<String, ProviderError> {
        Ok(match self {
            Self::MakeCustomer => razorpay.create_customer(&acme()).await?,
            Self::OpenCheckout => format!("{:?}", razorpay.create_checkout(&pro()).await?),
            Self::CloseCheckout => format!("{:?}", razorpay.expire_checkout(id).await?),
            Self::EndWithPeriod => format!("{:?}", razorpay.cancel_at_period_end(id).await?),
            Self::EndNow => format!("{:?}", razorpay.cancel_now(id, FinalInvoice::None).await?),
            Self::Unpause => format!("{:?}", razorpay.resume(id).await?),
            Self::RefundPart => {
                let share = RefundShare::Unused { left: 2, of: 3 };
                let went = razorpay
                    .refund_latest_payment(id, share, "refund:1")
                    .await?;
                went.to_string()
            }
            Self::RefundRest => {
                let share = RefundShare::Whole;
                let went = razorpay
                    .refund_latest_payment(id, share, "refund:1")
                    .await?;
                went.to_string()
            }
            Self::MakeLink => format!("{:?}", razorpay.create_payment_link(&usage()).await?),
            Self::ReadCharge => {
                format!("{:?}", razorpay.charge(&fake.payment_of(id), b"").await?)
            }
            Self::ReadHistory => format!("{:?}", razorpay.subscriptions(None).await?),
        })
    }

    /// Prepares, lets the fault happen once at that request, calls until it succeeds. Returns what was said and what there is
    /// afterwards, and which requests were made.
    async fn played(self, fault: Option<(Endpoint, Fault)>) -> (String, Vec<Endpoint>) {
        let (fake, razorpay, id) = self.prepared().await;
        let asked_before = fake.requests().len();
        if let Some((endpoint, fault)) = fault {
            fake.fail(endpoint, fault, 1);
        }
        let mut tries = 0;
        let said = loop {
            match self.run(&fake, &razorpay, &id).await {
                Ok(said) => break said,
                Err(error) => {
                    tries += 1;
                    assert!(
                        error.is_transient() && tries < 3,
                        "{self:?} {fault:?}: {error}"
                    );
                }
            }
        };
        let requests = fake.requests().split_off(asked_before);
        let asked = requests.iter().filter_map(|r| r.endpoint).collect();
        let made: [Vec<Value>; 5] = [
            fake.customers(),
            fake.subscriptions(),
            fake.payments(),
            fake.refunds(),
            fake.links(),
        ];
        let ends = !id.is_empty() && fake.ends_with_its_cycle(&id);
        let left = format!("{said}\n{ends}\n{made:#?}");
        (without_run(&left), asked)
    }
}

/// Without what sets the ids of one fake apart from those of another: nothing but the kinds and the numbers of the things is left.
fn without_run(left: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let run = ["sub_", "plink_", "cust_"].iter().find_map(|kind| {
        let at = left.find(kind)? + kind.len();
        let id = left[at..].split(|c| !word(c)).next()?;
        Some(id[..id.len() - 5].to_owned())
    });
    run.map_or_else(|| left.to_owned(), |run| left.replace(&run, ""))
}

#[tokio::test]
async fn every_call_survives_every_fault_at_every_request() {
    let faults = [
        Fault::DropAfterEffect,
        Fault::DropBeforeEffect,
        Fault::SERVER_ERROR,
        Fault::rate_limited(0),
    ];
    let mut played = 0;
    for act in ACTS {
        let (undisturbed, mut asked) = act.played(None).await;
        asked.sort_by_key(|endpoint| format!("{endpoint:?}"));
        asked.dedup();
        assert!(!asked.is_empty());
        for endpoint in asked {
            for fault in faults {
                let (left, _) = act.played(Some((endpoint, fault))).await;
                assert_eq!(left, undisturbed, "{act:?} {endpoint:?} {fault:?}");
                played += 1;
            }
        }
    }
    assert!(played > 80, "{played}");
}
