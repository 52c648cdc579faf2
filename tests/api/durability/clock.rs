//! Periods end and clocks jump between two requests of one customer.
