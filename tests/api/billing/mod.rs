//! Billing over HTTP: plans are bought, changed, cancelled and resumed. What a checkout does is proved in `checkout`.

mod routes;
