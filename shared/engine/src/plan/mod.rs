//! Planning: changes become deliveries, deliveries become parcels. It must not know where rows come from or how they are sent.

pub mod block;
pub mod cut;
pub mod estimate;
pub mod guard;
pub mod join;
pub mod layout;
pub mod requests;
pub mod rows_by_key;

/// A parcel holds at most this many deliveries.
pub const PARCEL_DELIVERIES: usize = 1000;
/// A parcel's rows take at most this many bytes, unpacked (a single delivery may take more).
pub const PARCEL_BYTES: usize = 4 << 20;
/// A parcel is at most this long at the lane's rate.
pub const PARCEL_SECONDS: f64 = 30.0;
/// A plan cuts what can be sent at the limits within this time; the rest is left to the next run, with fresher rows.
pub const DEADLINE_SECONDS: f64 = 24.0 * 3600.0;
