//! What the environment of a function says: infra/template.yaml sets it. It must not open anything.

use backend_aws::Names;
use ipnet::IpNet;
use std::path::PathBuf;

/// What a function has of disk, MB, unless `PENSTOCK_DISK_MB` says otherwise. Copies of objects take half of it at most; the rows that are
/// read and the plan that is written need the rest.
const DISK_MB: u64 = 512;

/// What a function takes beside the keys of a plan: itself, the rows that are being read, and changes that wait to be written, bytes.
const BESIDE_KEYS: u64 = 384 << 20;
/// What a key of a plan takes, bytes (docs/performance.md has it measured).
const KEY_BYTES: u64 = 64;

/// The parts of a stack by name.
#[derive(Debug)]
pub struct Named {
    /// Table, bucket, key.
    pub names: Names,
    /// The URL of the queue of tasks.
    pub plan_queue: String,
    /// The URL of the queue of tickets.
    pub deliver_queue: String,
    /// A folder for files that vanish with the function.
    pub scratch: PathBuf,
    /// Private addresses that requests may go to.
    pub ranges: Vec<(IpNet, Option<u16>)>,
    /// Whether each attempt is to have its line.
    pub tells_attempts: bool,
    /// More keys than this a plan is not made of at once.
    pub most_keys: usize,
    /// The workgroup of queries on Athena that name none.
    pub athena_workgroup: String,
}

impl Named {
    /// Reads the environment.
    ///
    /// # Errors
    /// A name is missing or wrong.
    pub fn read() -> Result<Named, String> {
        Named::of(|name| std::env::var(name).ok())
    }

    fn of(value: impl Fn(&str) -> Option<String>) -> Result<Named, String> {
        let value = |name: &str| value(name).filter(|value| !value.is_empty());
        let need = |name: &str| value(name).ok_or_else(|| format!("{name} is not set: infra/template.yaml sets it"));
        let scratch = value("PENSTOCK_SCRATCH").map_or_else(|| std::env::temp_dir().join("penstock"), PathBuf::from);
        let number = |name: &str, unit: &str, otherwise: u64| {
            value(name)
                .map_or(Ok(otherwise), |text| text.parse::<u64>().map_err(|_| format!("{name} is `{text}`: give a number of {unit}")))
        };
        let disk = number("PENSTOCK_DISK_MB", "megabytes", DISK_MB)?;
        // Lambda sets it, in MB.
        let memory = number("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "megabytes", 512)?;
        let most_keys = number("PENSTOCK_PART_KEYS", "keys", (memory << 20).saturating_sub(BESIDE_KEYS) / KEY_BYTES)?;
        let ranges = value("PENSTOCK_ALLOW_RANGES").unwrap_or_default();
        let ranges: Result<Vec<_>, String> =
            ranges.split(',').map(str::trim).filter(|range| !range.is_empty()).map(transport::parse_range).collect();
        Ok(Named {
            names: Names {
                table: need("PENSTOCK_TABLE")?,
                bucket: need("PENSTOCK_BUCKET")?,
                key: need("PENSTOCK_KEY")?,
                scratch: scratch.join("objects"),
                scratch_bytes: (disk << 20) / 2,
            },
            plan_queue: need("PENSTOCK_PLAN_QUEUE")?,
            deliver_queue: need("PENSTOCK_DELIVER_QUEUE")?,
            scratch,
            most_keys: most_keys as usize,
            athena_workgroup: value("PENSTOCK_ATHENA_WORKGROUP").unwrap_or_else(|| "primary".to_string()),
            tells_attempts: value("PENSTOCK_LOG").as_deref() == Some("attempts"),
            ranges: ranges.map_err(|e| format!("PENSTOCK_ALLOW_RANGES: {e}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: [(&str, &str); 6] = [
        ("PENSTOCK_TABLE", "table"),
        ("PENSTOCK_BUCKET", "bucket"),
        ("PENSTOCK_KEY", "key"),
        ("PENSTOCK_PLAN_QUEUE", "plan"),
        ("PENSTOCK_DELIVER_QUEUE", "deliver"),
        ("PENSTOCK_ALLOW_RANGES", "10.0.0.0/8, 127.0.0.1/32:8080"),
    ];

    fn of(pairs: &[(&str, &str)]) -> Result<Named, String> {
        Named::of(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_string()))
    }

    #[test]
    fn a_stack_is_read_from_the_environment() {
        let named = of(&WHOLE).unwrap();
        assert_eq!((named.names.table.as_str(), named.deliver_queue.as_str(), named.ranges.len()), ("table", "deliver", 2));
    }

    #[test]
    fn what_a_function_holds_follows_from_its_memory_and_disk() {
        let sizes = [("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "2048"), ("PENSTOCK_DISK_MB", "4096")];
        let named = of(&[&WHOLE[..], &sizes].concat()).unwrap();
        assert_eq!((named.most_keys, named.names.scratch_bytes), ((2048 - 384) * (1 << 20) / 64, 2 << 30));
        let wrong = of(&[&WHOLE[..], &[("PENSTOCK_DISK_MB", "much")]].concat()).unwrap_err();
        assert!(wrong.contains("PENSTOCK_DISK_MB is `much`"), "{wrong}");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (name, _) in &WHOLE[..5] {
            let without: Vec<_> = WHOLE.into_iter().filter(|(key, _)| key != name).collect();
            assert!(of(&without).unwrap_err().contains(name));
        }
        let wrong: Vec<_> =
            WHOLE.into_iter().filter(|(key, _)| *key != "PENSTOCK_ALLOW_RANGES").chain([("PENSTOCK_ALLOW_RANGES", "x")]).collect();
        assert!(of(&wrong).unwrap_err().contains("PENSTOCK_ALLOW_RANGES"));
    }
}
