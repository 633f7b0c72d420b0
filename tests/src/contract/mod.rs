//! What every backend must do, as one list of cases for the store, one for the objects, one for sealing and one for the
//! queue.
//!
//! A backend passes all of them or is none: there are no flags for what one cannot do. A case sees only the port, so it must not
//! know which backend it runs on, nor lean on anything that the port does not promise.

mod objects;
mod queue;
mod secrets;
mod store;
mod store_index;

use engine::port::{Objects, Queue, Secrets, Store};

/// Runs cases one after the other, each on a backend of its own, naming each so that a failure says which one it was.
macro_rules! run_cases {
    ($what:literal, $make:ident, $($module:ident :: $case:ident,)+) => {
        $(
            eprintln!("{} contract: {}", $what, stringify!($case));
            Box::pin($module::$case($make())).await;
        )+
    };
}

/// Runs every case for a store. `make` gives an empty one each time.
///
/// # Panics
/// At the first case that does not hold.
pub async fn store_contract<S: Store + Clone>(make: impl Fn() -> S) {
    run_cases!(
        "store",
        make,
        store::what_was_never_put_is_absent,
        store::a_put_document_is_read_back_at_its_version,
        store::absent_is_expected_once,
        store::a_version_is_expected_until_the_next_write,
        store::anything_is_expected_always,
        store::a_delete_expects_what_it_says,
        store::a_version_never_comes_back,
        store::a_refused_write_changes_nothing,
        store::keys_of_other_partitions_do_not_meet,
        store::a_list_is_in_the_order_of_bytes,
        store::a_list_begins_with_its_start_and_ends_before_its_end,
        store::a_list_stops_at_its_limit,
        store::an_empty_partition_lists_nothing,
        store::odd_keys_stay_what_they_are,
        store::a_body_may_be_large_and_hold_any_bytes,
        store::too_large_a_body_is_refused,
        store::keys_that_no_backend_takes_are_refused,
        store::an_expired_document_is_not_seen,
        store::an_expired_document_counts_as_absent,
        store::an_expiry_can_be_moved_and_taken_away,
        store::many_writes_are_answered_in_order_each_by_itself,
        store::many_writes_of_none_are_none,
        store::what_was_written_is_read_at_once,
        store::a_race_to_count_loses_nothing,
        store::a_race_to_create_has_one_winner,
        store::a_race_of_batches_has_one_winner_for_each_key,
        store_index::an_entry_comes_changes_and_goes_with_its_document,
        store_index::indexes_do_not_meet,
        store_index::entries_with_equal_keys_are_all_kept,
        store_index::entries_are_listed_from_either_end,
        store_index::an_entry_range_is_half_open_in_both_directions,
        store_index::an_expired_document_has_no_entries,
        store_index::a_refused_put_leaves_the_entries_alone,
        store_index::a_long_summary_is_kept_and_too_long_a_one_refused,
        store_index::two_entries_for_one_index_are_refused,
    );
}

/// Runs every case for objects. `make` gives an empty store of objects each time.
///
/// # Panics
/// At the first case that does not hold.
pub async fn objects_contract<O: Objects + Clone>(make: impl Fn() -> O) {
    run_cases!(
        "objects",
        make,
        objects::what_was_never_put_is_missing,
        objects::a_put_object_is_read_back_whole,
        objects::an_empty_object_is_an_object,
        objects::a_range_gives_its_bytes,
        objects::a_range_beyond_the_end_is_missing,
        objects::a_range_that_ends_before_it_starts_is_refused,
        objects::an_object_can_be_replaced,
        objects::a_reader_meets_the_old_or_the_new_object_whole,
        objects::an_adopted_file_becomes_the_object_and_is_gone,
        objects::an_adopted_file_replaces_an_object,
        objects::a_file_that_is_not_there_is_not_adopted,
        objects::a_local_file_has_the_content,
        objects::names_are_listed_by_any_prefix,
        objects::a_deleted_object_is_gone_and_can_be_deleted_again,
        objects::names_that_could_leave_the_store_are_refused,
        objects::odd_but_allowed_names_work,
        objects::prefixes_that_could_leave_the_store_are_refused,
        objects::many_objects_can_be_put_at_once,
    );
}

/// Runs every case for sealing. `make` gives one that has sealed nothing yet each time.
///
/// # Panics
/// At the first case that does not hold.
pub async fn secrets_contract<S: Secrets + Clone + std::fmt::Debug>(make: impl Fn() -> S) {
    run_cases!(
        "secrets",
        make,
        secrets::what_was_sealed_opens_for_what_it_belongs_to,
        secrets::it_opens_for_nothing_else,
        secrets::the_same_value_is_sealed_another_way_each_time,
        secrets::a_sealed_text_is_one_short_word_of_ascii,
        secrets::a_changed_text_does_not_open,
        secrets::what_was_never_sealed_does_not_open,
        secrets::organizations_do_not_meet,
        secrets::no_error_and_no_debug_shows_a_value,
    );
}

/// Runs every case for a queue. `make` gives an empty one each time, and what takes the bodies that can be received from it now.
///
/// # Panics
/// At the first case that does not hold.
pub async fn queue_contract<Q: Queue, T: Fn() -> Vec<String>>(make: impl Fn() -> (Q, T)) {
    run_cases!(
        "queue",
        make,
        queue::what_was_sent_can_be_received,
        queue::more_can_be_sent_than_a_call_takes,
        queue::a_delayed_message_is_not_received_yet,
        queue::what_is_no_message_is_refused,
    );
}
