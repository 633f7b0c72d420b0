//! Where every document lies: the one table of keys (ARCHITECTURE.md shows it).

use crate::judge::Class;
use crate::model::name::Name;
use crate::port::Key;
use crate::run::work::Part;

/// The lane of a destination, one of its shares where it has several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneName {
    /// The organization.
    pub organization: Name,
    /// The destination.
    pub destination: Name,
    /// The share, from 0.
    pub share: u32,
}

impl LaneName {
    /// The lane of a destination, the first of its shares.
    pub fn first(organization: &Name, destination: &Name) -> LaneName {
        LaneName { organization: organization.clone(), destination: destination.clone(), share: 0 }
    }

    /// The partition of its tokens, bell and backlog.
    pub fn partition(&self) -> String {
        format!("{}#lane#{}#{}", self.organization, self.destination, self.share)
    }

    /// Its lease and rate-limit tokens.
    pub fn tokens(&self) -> Key {
        Key::new(self.partition(), "tokens")
    }

    /// Its bell.
    pub fn bell(&self) -> Key {
        Key::new(self.partition(), "bell")
    }

    /// What its loop has heard.
    pub fn heard(&self) -> Key {
        Key::new(self.partition(), "heard")
    }

    /// Whether it is paused.
    pub fn pause(&self) -> Key {
        Key::new(self.partition(), "pause")
    }

    /// The lane of a partition's name.
    pub fn parse(partition: &str) -> Option<LaneName> {
        let mut parts = partition.split('#');
        let organization = Name::new(parts.next()?).ok()?;
        (parts.next()? == "lane").then_some(())?;
        let destination = Name::new(parts.next()?).ok()?;
        Some(LaneName { organization, destination, share: parts.next()?.parse().ok()? })
    }
}

/// Behind every sort key: all of ours are made of characters before it.
pub const BEHIND_ALL: &str = "~";

/// The document of a run.
pub fn run(organization: &Name, run: &str) -> Key {
    Key::new(format!("{organization}#run"), run)
}

/// A list of attempts by the time they started: whose they are, their class, and whether a further one follows.
pub fn attempts_of_destination(organization: &Name, destination: &Name, class: Class, last: bool) -> String {
    format!("{organization}#destination#{destination}#{}", class_and_last(class, last))
}

/// The same for an export.
pub fn attempts_of_export(organization: &Name, export: &str, class: Class, last: bool) -> String {
    format!("{organization}#export#{export}#{}", class_and_last(class, last))
}

/// The same for a rule.
pub fn attempts_of_rule(organization: &Name, rule: &Name, class: Class, last: bool) -> String {
    format!("{organization}#rule#{rule}#{}", class_and_last(class, last))
}

/// The same for all of the organization's.
pub fn attempts(organization: &Name, class: Class, last: bool) -> String {
    format!("{organization}#attempts#{}", class_and_last(class, last))
}

fn class_and_last(class: Class, last: bool) -> String {
    format!("{}#{}", class.as_str(), if last { "last" } else { "more" })
}

/// A segment's place in those lists: by its newest attempt's start (Unix milliseconds).
pub fn attempts_sort(newest_ms: u64, run: &str, parcel: u32, recording: Recording) -> String {
    format!("{newest_ms:014}#{run}#{parcel:08}#{recording}")
}

/// Newest start, run and parcel of a place in those lists.
pub fn parse_attempts_sort(sort: &str) -> Option<(u64, &str, u32)> {
    let mut parts = sort.split('#');
    Some((parts.next()?.parse().ok()?, parts.next()?, parts.next()?.parse().ok()?))
}

/// The objects with the rows of plans start so; the run's id follows.
pub fn plan_objects(organization: &Name) -> String {
    format!("plans/{organization}/")
}

/// The object with the rows of a run's plan. `by` is a name that nobody else has: where two plan the same run, neither writes what the
/// other's document and parcels tell of.
pub fn plan_object(organization: &Name, run: &str, by: Option<&str>) -> String {
    let by = by.map(|by| format!(".{by}")).unwrap_or_default();
    format!("{}{run}{by}", plan_objects(organization))
}

/// The objects with the rows of the parts of a run's plan start so.
pub fn part_objects(organization: &Name, run: &str) -> String {
    format!("{}{run}.parts/", plan_objects(organization))
}

/// The objects with what a run sent and got start so.
pub fn pages(organization: &Name, run: &str) -> String {
    format!("pages/{organization}/{run}/")
}

/// The partition of what is under way in all organizations.
pub const WORK: &str = "work";

/// What is under way: a run that was asked for and has not ended.
pub fn work(organization: &Name, run: &str) -> Key {
    Key::new(WORK, format!("{organization}#{run}"))
}

/// What a part of a run's plan found.
pub fn part(organization: &Name, run: &str, part: Part) -> Key {
    Key::new(run_partition(organization, run), format!("part#{:04}#{:04}", part.round, part.number))
}

/// The sort keys of all that the parts of a run's plan found.
pub const ALL_PARTS: (&str, &str) = ("part#", "part$");

/// The sort keys of what the parts of a round found: from the first to behind the last.
pub fn parts_of_round(round: u32) -> (String, String) {
    (format!("part#{round:04}#"), format!("part#{round:04}$"))
}

/// The part of a sort key.
pub fn parse_part(sort: &str) -> Option<Part> {
    let (round, number) = sort.strip_prefix("part#")?.split_once('#')?;
    Some(Part { round: round.parse().ok()?, number: number.parse().ok()? })
}

/// The partition of the organizations that have ever run anything.
pub const ORGANIZATIONS: &str = "organizations";

/// When an export runs next by itself.
pub fn firing(organization: &Name, export: &Name) -> Key {
    Key::new(format!("{organization}#export#{export}"), "firing")
}

/// The index partition of plans that nobody has executed.
pub fn plans(organization: &Name) -> String {
    format!("{organization}#plans")
}

/// The index partition of an export's runs.
pub fn runs_of_export(organization: &Name, export: &Name) -> String {
    format!("{organization}#runs#export#{export}")
}

/// The index partition of the runs to a destination.
pub fn runs_of_destination(organization: &Name, destination: &Name) -> String {
    format!("{organization}#runs#destination#{destination}")
}

/// The index partition of all runs.
pub fn runs(organization: &Name) -> String {
    format!("{organization}#runs")
}

/// A run's place in the lists of runs: by start (Unix microseconds), then by id.
pub fn run_sort(started_at: u64, run: &str) -> String {
    format!("{started_at:020}#{run}")
}

/// The run and its start of a place in the lists of runs.
pub fn parse_run_sort(sort: &str) -> Option<(u64, &str)> {
    let (started_at, run) = sort.split_once('#')?;
    Some((started_at.parse().ok()?, run))
}

/// The partition of a run's progress and segments.
pub fn run_partition(organization: &Name, run: &str) -> String {
    format!("{organization}#run#{run}")
}

/// A run's progress on a lane.
pub fn progress(lane: &LaneName, run: &str) -> Key {
    Key::new(run_partition(&lane.organization, run), format!("lane#{}#{}", lane.destination, lane.share))
}

/// The sort keys of a run's progress on its lanes.
pub const ALL_PROGRESS: (&str, &str) = ("lane#", "lane$");

/// The sort keys of a parcel's segments: from the first to behind the last.
pub fn segments_of(parcel: u32) -> (String, String) {
    (format!("P#{parcel:08}#"), format!("P#{parcel:08}$"))
}

/// The sort keys of all of a run's segments.
pub const ALL_SEGMENTS: (&str, &str) = ("P#", "P$");

/// What distinguishes one recording from all others, and the parts of it from each other. `generation` counts the lane's leases, so
/// that no two owners ever write the same segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The lease's.
    pub generation: u64,
    /// Counted within the lease.
    pub sequence: u64,
    /// Counted within the recording.
    pub part: usize,
}

impl std::fmt::Display for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}{:08x}{:04x}", self.generation, self.sequence, self.part)
    }
}

/// A segment; `of` are the first and the last delivery that it has attempts of, if it has any.
pub fn segment(organization: &Name, run: &str, parcel: u32, recording: Recording, of: Option<(u32, u32)>) -> Key {
    let (first, last) = of.unwrap_or((1, 0));
    Key::new(run_partition(organization, run), format!("P#{parcel:08}#{recording}#{first:x}-{last:x}"))
}

/// The first and the last delivery that a segment has attempts of, told by its sort key.
pub fn deliveries_of_segment(sort: &str) -> Option<(u32, u32)> {
    let (first, last) = sort.rsplit('#').next()?.split_once('-')?;
    Some((u32::from_str_radix(first, 16).ok()?, u32::from_str_radix(last, 16).ok()?))
}

/// The state of an export: its run lease, its snapshot list.
pub fn export_state(organization: &Name, export: &Name) -> Key {
    Key::new(format!("{organization}#export#{export}"), "state")
}

/// A pinned version of what shapes an export's requests.
pub fn pinned(organization: &Name, export: &Name, version: &str) -> Key {
    Key::new(format!("{organization}#def#export"), format!("{export}@{version}"))
}

/// A pinned version of what shapes a rule's requests.
pub fn pinned_rule(organization: &Name, rule: &Name, version: &str) -> Key {
    Key::new(format!("{organization}#def#rule"), format!("{rule}@{version}"))
}

/// The claim of an event's id.
pub fn event(organization: &Name, event: &str) -> Key {
    Key::new(format!("{organization}#event#{event}"), "-")
}

/// The partition of an organization's errands, and the index partition that lists all of them.
pub fn errands(organization: &Name) -> String {
    format!("{organization}#errand")
}

/// The index partition of an event's errands.
pub fn errands_of_event(organization: &Name, event: &str) -> String {
    format!("{organization}#errand#{event}")
}

/// What was answered to a request that may come twice.
pub fn idempotency(organization: &Name, hash: &str) -> Key {
    Key::new(format!("{organization}#idempotency"), hash)
}

/// The partition of an organization's definitions of a kind. Pinned versions of exports lie between them; `@` stands in no name.
pub fn definitions(organization: &Name, kind: &str) -> String {
    format!("{organization}#def#{kind}")
}

/// The journal of an organization's definitions: how often they changed, and the change that is under way.
pub fn journal(organization: &Name) -> Key {
    Key::new(format!("{organization}#def"), "journal")
}

/// An API token, under the hash of its text. Its organization is not known before it is read.
pub fn token(hash: &str) -> Key {
    Key::new("token", hash)
}

/// The partition of the first index that lists an organization's tokens.
pub fn tokens(organization: &Name) -> String {
    format!("{organization}#token")
}

/// The rows that were pushed to a model.
pub fn pushed(organization: &Name, model: &Name) -> Key {
    Key::new(format!("{organization}#model#{model}"), "pushed")
}

/// An upload of a whole snapshot of a model.
pub fn upload(organization: &Name, model: &Name, upload: &str) -> Key {
    Key::new(format!("{organization}#model#{model}"), format!("upload#{upload}"))
}

/// The partition of the first index that lists an organization's paused lanes.
pub fn paused(organization: &Name) -> String {
    format!("{organization}#paused")
}
