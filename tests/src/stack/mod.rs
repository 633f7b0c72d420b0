//! A stack at work: the real Lambda executables behind a Lambda Runtime API on loopback, with the queues, the minute's schedule and the
//! HTTP gateway that AWS puts before them, on moto. It must not know what the product does.

mod function;
mod gateway;
mod queue;
mod runtime;

pub use function::{Ended, Function, Functions};
pub use queue::{Mapping, Mishaps};

use crate::aws::{self, Moto, Stack as Parts};
use gateway::Gateway;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How a stack is set up.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The folder of the executables `configure`, `plan` and `deliver`.
    pub executables: PathBuf,
    /// More of the functions' environment.
    pub environment: Vec<(String, String)>,
    /// Between two events of the minute's schedule; `None`: it never fires.
    pub minute: Option<Duration>,
    /// How long a message that was received and not deleted stays out of sight.
    pub visibility_seconds: u64,
    /// How long a call of `deliver` may take.
    pub deliver_timeout: Duration,
    /// What happens to messages on their way.
    pub mishaps: Mishaps,
    /// Where AWS answers, if not moto itself: a proxy's address.
    pub endpoint: Option<SocketAddr>,
}

impl Setting {
    /// All goes well; a minute is a second.
    pub fn new(executables: &Path) -> Setting {
        Setting {
            executables: executables.to_owned(),
            environment: Vec::new(),
            minute: Some(Duration::from_secs(1)),
            visibility_seconds: 30,
            deliver_timeout: Duration::from_secs(120),
            mishaps: Mishaps::default(),
            endpoint: None,
        }
    }
}

/// A stack at work; everything of it ends with it.
pub struct Stack {
    /// Table, bucket, key.
    pub parts: Parts,
    /// The functions.
    pub functions: Arc<Functions>,
    /// Where the API answers.
    pub address: SocketAddr,
    /// The queue of tasks.
    pub plans: Arc<Mapping>,
    /// The queue of tickets.
    pub tickets: Arc<Mapping>,
    leave: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    _gateway: Gateway,
}

impl Stack {
    /// Sets a stack up.
    ///
    /// # Panics
    /// If moto or an executable refuses.
    pub fn start(moto: &Moto, setting: Setting) -> Stack {
        let parts = Parts::new(moto);
        let plan_queue = queue::make(moto.address(), &format!("{}-plan", parts.names.table), setting.visibility_seconds);
        let deliver_queue = queue::make(moto.address(), &format!("{}-deliver", parts.names.table), setting.visibility_seconds);
        let endpoint = setting.endpoint.unwrap_or(moto.address());
        let scratch = parts.names.scratch.parent().expect("copies lie in a folder").to_owned();
        let environment = environment(&parts, endpoint, &plan_queue, &deliver_queue, &setting);
        let functions = Arc::new(Functions::new(&setting, environment, scratch));
        let leave = Arc::new(AtomicBool::new(false));
        let mapping = |queue: &str, function: &Arc<Function>, batch, dead, mishaps| {
            Arc::new(Mapping::new(moto.address(), queue, Arc::clone(function), batch, dead, mishaps))
        };
        let dead = |name: &str| queue::make(moto.address(), &format!("{}-{name}-dead", parts.names.table), 30);
        let plans = mapping(&plan_queue, &functions.plan, 1, dead("plan"), setting.mishaps.clone());
        let tickets = mapping(&deliver_queue, &functions.deliver, 10, dead("deliver"), setting.mishaps.clone());
        let mut threads = vec![plans.start(&leave), tickets.start(&leave)];
        if let Some(minute) = setting.minute {
            threads.push(schedule(Arc::clone(&functions.plan), minute, &leave));
        }
        let gateway = Gateway::start(Arc::clone(&functions.configure));
        Stack { parts, functions, address: gateway.address, plans, tickets, leave, threads, _gateway: gateway }
    }

    /// A token that can do everything, made as docs/deploy.md says.
    ///
    /// # Panics
    /// If it is not made.
    pub fn token(&self, organization: &str) -> String {
        let command = json!({"penstock": {"create_token": {"organization": organization, "name": "test"}}});
        let answer = self.functions.configure.invoke(&command).expect("configure answers");
        answer["text"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    /// Puts an object into the stack's bucket, as others put rows into theirs.
    ///
    /// # Panics
    /// If moto refuses.
    pub fn put_object(&self, moto: &Moto, key: &str, bytes: Vec<u8>) {
        aws::put_object(moto.address(), &self.parts.names.bucket, key, bytes);
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.leave.store(true, Ordering::Relaxed);
        self.functions.end();
        for thread in self.threads.drain(..) {
            // What panicked there has failed the test already, or is why it ends.
            let _ = thread.join();
        }
    }
}

fn environment(parts: &Parts, endpoint: SocketAddr, plans: &str, tickets: &str, setting: &Setting) -> Vec<(String, String)> {
    let pairs = [
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_ENDPOINT_URL", format!("http://{endpoint}")),
        ("PENSTOCK_TABLE", parts.names.table.clone()),
        ("PENSTOCK_BUCKET", parts.names.bucket.clone()),
        ("PENSTOCK_KEY", parts.names.key.clone()),
        ("PENSTOCK_PLAN_QUEUE", plans.to_owned()),
        ("PENSTOCK_DELIVER_QUEUE", tickets.to_owned()),
        ("PENSTOCK_ALLOW_RANGES", "127.0.0.0/8".to_owned()),
    ];
    let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
    pairs.chain(setting.environment.iter().cloned()).collect()
}

/// The minute's schedule, whatever a minute is.
fn schedule(plan: Arc<Function>, minute: Duration, leave: &Arc<AtomicBool>) -> JoinHandle<()> {
    let leave = Arc::clone(leave);
    std::thread::spawn(move || {
        let event = json!({"version": "0", "detail-type": "Scheduled Event", "source": "aws.events", "detail": {}});
        while !leave.load(Ordering::Relaxed) {
            // One that fails is made up for by the next.
            let looked: Result<Value, Ended> = plan.invoke(&event);
            if let (Err(ended), true) = (&looked, std::env::var_os("PENSTOCK_TELL").is_some()) {
                eprintln!("the minute's look ended: {ended:?}");
            }
            std::thread::sleep(minute);
        }
    })
}
